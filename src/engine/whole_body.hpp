// Whole answers: judging one that an engine gave, and making one from a stream.
//
// A request that does not stream is generated as a stream upstream wherever the whole body can be
// made from it, so that a failure costs one prefill instead of everything. How an engine's whole
// body looks (fields, their order, nulls) is learned from one that it gave itself to a plain
// request: no format code for fields, and nothing of another version is guessed. Only what an
// answer changes is replaced: id, created, model, text, finish reason, stop reason, usage, timings.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.hpp"
#include "engine/skeleton.hpp"
#include "engine/stream_reader.hpp"
#include "wire/json.hpp"

namespace hf::engine {

/// What a whole answer under status 200 is worth.
struct WholeVerdict {
  core::Reason reason = core::Reason::kNone;  // kNone: an answer
  bool client_error = false;                  // an error that is the request's own fault
  std::string message;                        // of an error
};

/// Reads a body of any bytes. kProtocol: no JSON object; kInBandError: it has an error member;
/// kAbort: a choice ends with finish reason "abort" or "error" (vLLM at SIGTERM), so it is half an
/// answer.
WholeVerdict judge_whole(Kind kind, std::string_view body);

/// What one answer fills in.
struct WholeFill {
  const Identity* identity = nullptr;  // never null; empty members keep the template's
  std::string_view text;               // unescaped UTF-8
  std::string_view finish_reason;
  std::string_view stop_reason;  // raw JSON; empty: null
  Counts counts;
  std::string_view usage;    // the engine's own usage object, raw; empty: only counts are known
  std::string_view timings;  // likewise, llama.cpp; empty: the member is left out
};

class WholeTemplate {
 public:
  /// Learns from a whole answer to a plain request. nullopt where not every field of it is
  /// understood (reasoning, log probabilities, several choices, members that are not null): answers
  /// of such an engine can't be made from streams. Whatever is learned writes `body` again byte by
  /// byte when it is given that answer's own values.
  static std::optional<WholeTemplate> learn(Kind kind, core::Endpoint endpoint,
                                            std::string_view body);

  void append(std::string& out, const WholeFill& fill) const;
  /// As this engine writes it over whole answers.
  std::string_view content_type() const;

 private:
  enum class Hole : std::uint8_t {
    kEnd,
    kId,
    kCreated,
    kModel,
    kText,
    kFinish,
    kStopReason,
    kUsage,
    kTimings,  // with its comma
  };
  struct Piece {
    std::string literal;
    Hole hole = Hole::kEnd;
  };
  struct UsageMember {
    std::string name;
    bool is_null = false;
  };
  struct Sample;

  bool read_top(wire::JsonReader& json, Sample& sample);
  bool read_member(wire::JsonReader& json, const wire::JsonKey& key, Sample& sample);
  bool read_choice(wire::JsonReader& json, Sample& sample);
  bool read_message(wire::JsonReader& json, Sample& sample);
  bool read_usage(std::string_view value);
  bool read_nothing(wire::JsonReader& json);
  std::string_view value_hole(wire::JsonReader& json, Hole hole);
  void append_usage(std::string& out, const WholeFill& fill) const;

  Kind kind_ = Kind::kOpenAi;
  bool chat_ = false;
  std::size_t taken_ = 0;  // bytes of the sample that are in pieces already
  std::vector<Piece> pieces_;
  std::vector<UsageMember> usage_;
};

}  // namespace hf::engine
