// One attempt's events: from bytes to meaning, and what to change before a client sees them.
//
// One pass an event, no allocation once its buffers have grown. Edits leave exactly the bytes that
// the engine would have sent had we not asked for ids and counts, with two exceptions that no
// engine lets us avoid: vLLM moves system_fingerprint into the usage event that we asked for (it is
// put back into the finish event from `fingerprint`, which the probe learned), and llama.cpp writes
// `timings` unasked into the event in which a stop string matched (taken out with the others).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "core/types.hpp"
#include "engine/dialect.hpp"
#include "wire/json.hpp"

namespace hf::engine {

/// The endpoint whose events are read.
enum class Called : std::uint8_t {
  kCompletions,  // the client's own
  kChat,         // the client's own
  kTokens,       // the engine's token endpoint: events are only read, never passed on
};

struct ReaderOptions {
  Kind kind = Kind::kOpenAi;
  Called called = Called::kCompletions;
  bool ids_added = false;         // WireRequest::ids_added of what was sent
  bool include_usage = false;     // the client's own wish
  bool continuous_usage = false;  // the client's own wish
  std::string fingerprint;        // EngineInfo::fingerprint
};

/// The fields that stay the same for the whole of a client's stream, as raw JSON; empty: not seen.
struct Identity {
  std::string id, created, model, system_fingerprint;
};

/// Replace bytes [at, at + size) of the event's data by `with`.
struct Edit {
  std::size_t at = 0;
  std::size_t size = 0;
  std::string_view with;
};

/// Views are valid until the next read().
struct ReadEvent {
  core::UpstreamEvent meaning;
  bool drop = false;                // the client must not see it at all
  std::string_view data;            // what was read
  std::span<const Edit> edits;      // of data, ascending, disjoint; empty: pass the bytes on
  std::string_view stop_reason;     // raw JSON, where the engine says what stopped it
  std::string_view usage, timings;  // raw JSON, where the event has them
};

class StreamReader {
 public:
  explicit StreamReader(ReaderOptions options);

  /// `data` is the event's data, as a part of the event's bytes where they are in one piece.
  /// kProtocol: not JSON. Well-formed and unknown is kOther.
  Result<ReadEvent> read(std::string_view data);

  /// From the first event that has them.
  const Identity& captured() const { return captured_; }

  /// For a restarted attempt after something was sent: events take these values (those not empty),
  /// and a chunk that only says the role is dropped.
  void set_identity(Identity identity);

 private:
  /// What was seen of the event being read.
  struct Seen {
    bool choices = false, role = false, usage = false, error = false, fingerprint = false;
    bool error_is_clients = false;
    int choice_count = 0;
    std::int64_t error_code = 0;
    std::int64_t prompt_n = -1, cache_n = 0;
    std::size_t object_end = 0;  // offset of the closing brace
  };

  enum class Ours : std::uint8_t { kUsage, kTimings, kVerbose };
  /// A member that may be there only because we asked: known once the whole event was read.
  struct Removable {
    Ours what = Ours::kUsage;
    wire::JsonKey key;
    std::size_t value_end = 0;
    bool kept_before = false;  // a member that surely stays comes before
  };

  void begin(std::string_view data);
  void read_top(wire::JsonReader& json);
  bool read_top_member(wire::JsonReader& json, const wire::JsonKey& key, bool kept_before);
  bool read_identity(wire::JsonReader& json, std::string_view key);
  void read_choices(wire::JsonReader& json);
  void read_choice(wire::JsonReader& json);
  void read_delta(wire::JsonReader& json);
  bool read_logprobs(wire::JsonReader& json, const wire::JsonKey& key, bool kept_before);
  void read_logprob_ids(std::string_view value);
  void read_usage(std::string_view value);
  void read_timings(std::string_view value);
  void read_verbose(std::string_view value);
  void read_native(wire::JsonReader& json);
  void read_error(std::string_view value);
  void read_text(wire::JsonReader& json);
  void read_finish(wire::JsonReader& json);
  void read_ids(wire::JsonReader& json, std::vector<core::TokenId>& out);
  void edit(wire::JsonSpan span, std::string_view with);
  void conclude();
  bool is_ours(Ours what) const;
  void make_edits();

  ReaderOptions options_;
  bool chat_ = false;
  bool native_ = false;
  bool replace_identity_ = false;
  std::string fingerprint_member_;
  Identity captured_;
  Identity wanted_;

  // Of the event being read; kept for their memory.
  std::string text_, error_message_, finish_text_;
  std::vector<core::TokenId> ids_, prompt_ids_;
  std::vector<Removable> removables_;
  std::vector<Edit> edits_;
  ReadEvent event_;
  Seen seen_;
};

/// Appends the event as the client should see it. `whole_event` is its bytes with framing; when the
/// data are no part of them (several data lines), the event is framed anew.
void append_edited(std::string& out, std::string_view whole_event, const ReadEvent& event);

}  // namespace hf::engine
