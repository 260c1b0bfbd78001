// The words that all machines share: token ids, endpoints, modes, reasons, and what one event of an
// engine means. Inputs of machines are meanings, never bytes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hf::core {

using TokenId = std::int32_t;

/// A place in the ledger whose id the engine never told (llama.cpp inside a character).
inline constexpr TokenId kUnknownToken = -1;

/// The endpoint that the client called.
enum class Endpoint : std::uint8_t { kCompletions, kChat };

/// How a request is (or goes on being) generated. `kFirst` is the first attempt.
enum class Mode : std::uint8_t { kFirst, kRestart, kTokens, kText };

/// Why an attempt failed; label values of `holdfast_migrations_total{reason}`.
enum class Reason : std::uint8_t {
  kNone,
  kConnect,
  kReset,
  kEarlyEnd,
  kAbort,
  kInBandError,
  kStall,
  kSlow,  // its worker is much slower than its peers: the stream was moved
  kDead,
  kHttp5xx,
  kOverloaded,  // 429 or 503: a typed refusal, costs nothing
  kRefused,     // 4xx to our own fields or prefix: our failure, next mode
  kProtocol,    // not HTTP, not SSE, not JSON
};

/// What one event of an engine's stream is.
enum class EventKind : std::uint8_t {
  kRole,    // chat: the chunk that only says who speaks
  kTokens,  // text and/or ids, perhaps with the finish reason
  kUsage,   // counts only, no choice
  kError,   // in-band {"error":…}
  kDone,    // data: [DONE]
  kOther,   // well-formed, but nothing of the above (passed on, never counted)
};

enum class Finish : std::uint8_t { kNone, kStop, kLength, kAbort, kError, kOther };

/// One event of an engine, as meaning. Views are valid until the reader reads the next event.
struct UpstreamEvent {
  EventKind kind = EventKind::kOther;
  std::span<const TokenId> ids;  // ids that are new with this event, in order
  std::string_view text;         // text that is new with this event, unescaped UTF-8
  Finish finish = Finish::kNone;
  bool at_end_token = false;     // kStop: surely an end token, not a stop string
  std::string_view stop_string;  // kStop: the one that it found, where it is told
  int choices_ended = 0;         // how many choices have their finish reason in it
  std::string_view finish_text;  // the finish reason as written ("stop", "tool_calls", …)
  std::int64_t completion_tokens =
      -1;                           // the engine's own running count after this event; -1 unknown
  std::int64_t prompt_tokens = -1;  // the engine's own count of prompt tokens; -1 unknown
  std::span<const TokenId> prompt_ids;  // the prompt's ids, where this event carries them
  bool plain = true;                    // nothing in it but role and content of choice 0
  bool client_error = false;            // kError with a 4xx code: the request's own fault
  std::string_view error_message;       // kError: what the engine says
};

std::string_view to_string(Mode mode);
std::string_view to_string(Reason reason);
std::string_view to_string(Finish finish);

}  // namespace hf::core
