// The one way in which a call that can fail says so.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace hf {

/// What went wrong. The numbers are fixed: they are part of the API (metric label, admin answers).
enum class Code : std::uint16_t {
  kBadInput = 1,      // what came from outside does not parse or breaks a rule
  kTooLarge = 2,      // over a named limit
  kRefused = 3,       // connect refused
  kReset = 4,         // connection reset or cut
  kTimeout = 5,       // a deadline passed
  kClosed = 6,        // the peer ended the connection in order
  kCancelled = 7,     // our own side ended it
  kHttpStatus = 8,    // the peer answered with an error status
  kProtocol = 9,      // the peer broke HTTP, SSE or its dialect
  kUnavailable = 10,  // nobody there who could do it
  kNotFound = 11,     // unknown model, path or name
  kUnsupported = 12,  // the engine or the request does not allow it
  kSystem = 13,       // the operating system refused (bind, open, …)
};

std::string_view to_string(Code code);

/// What a caller may sensibly do next. Migration policy reads this, never a string.
enum class Retry : std::uint8_t { kNever, kSameWorker, kOtherWorker, kAfterDelay };

struct Error {
  Code code = Code::kBadInput;
  Retry retry = Retry::kNever;
  std::string detail;  // names the thing and the remedy, for people
};

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Code code, std::string detail, Retry retry = Retry::kNever) {
  return std::unexpected(Error{code, retry, std::move(detail)});
}

}  // namespace hf
