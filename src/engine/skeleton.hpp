// The client's events of a resumed generation, rebuilt from one that the engine itself wrote.
//
// A resumed attempt runs on another endpoint than the client called. So that a client cannot tell,
// its events are made from the first ones of this stream, byte for byte but for delta (chat) or
// text (completions), finish reason, stop reason and counts. No format code for fields, their order
// or their spelling: whatever the engine writes stays.
//
// Every append_* writes one whole SSE event ("data: {…}\n\n").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.hpp"
#include "engine/dialect.hpp"
#include "wire/json.hpp"

namespace hf::engine {

struct SkeletonOptions {
  Kind kind = Kind::kOpenAi;
  core::Endpoint endpoint = core::Endpoint::kCompletions;
  bool include_usage = false;     // the client's own wish
  bool continuous_usage = false;  // the client's own wish
  std::string fingerprint;        // raw JSON; goes where vLLM puts it; empty: left out
};

/// Counts that a client sees: the original prompt, and all completion tokens so far.
struct Counts {
  std::int64_t prompt = 0;
  std::int64_t completion = 0;
};

class Skeleton {
 public:
  explicit Skeleton(SkeletonOptions options);

  /// Looks at an event's JSON as the client gets it (after edits, without "data: "). Call it for
  /// each event until settled(); events without a choice are ignored. A chunk that only says the
  /// role will do; the first one with content is better, and replaces it.
  void capture(std::string_view edited_data);
  /// The same, from a whole edited event ("data: {…}\n\n").
  void capture_event(std::string_view edited_event);

  /// Nothing more to learn; capture() does nothing from now on.
  bool settled() const { return settled_; }
  /// An event with a choice was seen, so that events can be made.
  bool ready() const { return ready_; }

  // All below: precondition ready(). Text is unescaped UTF-8. Counts appear only where the client
  // asked for continuous usage, or where the engine writes them.
  void append_role(std::string& out, Counts counts) const;
  void append_delta(std::string& out, std::string_view text, Counts counts) const;
  /// The last event with a choice. `stop_reason` is raw JSON ("" is null). llama.cpp finishes in an
  /// event of its own: text that is left goes before it.
  void append_finish(std::string& out, std::string_view text, std::string_view finish_text,
                     std::string_view stop_reason, Counts counts) const;
  /// The event that tells the usage, where this engine has one and the client asked for it; else
  /// nothing. Without include_usage nothing is written.
  void append_usage(std::string& out, Counts counts) const;

 private:
  enum class What : std::uint8_t { kRole, kDelta, kFinish, kUsage };
  /// What stands between two stretches of literal bytes.
  enum class Hole : std::uint8_t {
    kEnd,
    kDelta,
    kText,
    kFinish,
    kStopReason,
    kStopReasonMember,
    kTokenIdsMember,
    kPromptTokens,
    kCompletionTokens,
    kTotalTokens,
    kUsageMember,
    kFinishUsageMember,
    kFingerprintMember,
    // From one of these on, literal bytes are left out until kResume where the event is none such.
    kOnlyWithChoice,
    kOnlyWithRole,
    kNever,
    kResume,
  };
  struct Piece {
    std::string literal;
    Hole hole = Hole::kEnd;
  };
  struct Fill {
    What what = What::kDelta;
    std::string_view text, finish_text, stop_reason;
    Counts counts;
  };

  void capture_top(wire::JsonReader& json);
  void capture_choices(wire::JsonReader& json);
  void capture_choice(wire::JsonReader& json);
  void capture_usage(wire::JsonReader& json);
  void hole(wire::JsonReader& json, std::size_t at, Hole kind);
  /// A hole in the place of the value under the cursor.
  std::string_view value_hole(wire::JsonReader& json, Hole kind);
  /// Brackets the member just read: its bytes are written only where `kind` allows.
  void bracket(wire::JsonReader& json, const wire::JsonKey& key, Hole kind);

  void write(std::string& out, const Fill& fill) const;
  void write_hole(std::string& out, Hole kind, const Fill& fill) const;
  void write_delta(std::string& out, const Fill& fill) const;
  void write_usage(std::string& out, Counts counts) const;
  static bool is_bracket(Hole kind);
  static bool skips(Hole kind, What what);

  SkeletonOptions options_;
  bool chat_ = false;
  bool ready_ = false;
  bool settled_ = false;
  int looked_at_ = 0;
  std::vector<Piece> pieces_;

  // Of the event being captured.
  std::size_t taken_ = 0;  // bytes that are in pieces already
  bool has_choice_ = false;
  bool says_role_ = false;
  bool says_finish_ = false;
};

}  // namespace hf::engine
