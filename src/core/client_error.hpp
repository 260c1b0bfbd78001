// Every error that a client can be told, and the one table of their statuses: who finds the error
// names its kind and says what happened.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.hpp"

namespace hf::core {

enum class ErrorKind : std::uint8_t {
  // the request's own
  kBadRequest,
  kTooLarge,
  kReadTimeout,
  kHeaderTooLarge,
  kEngineRefused,
  kUnknownPath,
  kMethodNotAllowed,
  kModelNotFound,
  kCancelled,
  // ours, or the engines'
  kPoisonSuspected,
  kUpstreamFailed,
  kAnswerTooLarge,
  kNoWorker,
  kQueueFull,
  kOverloaded,
  kShuttingDown,
  // of the admin listener
  kUnauthorized,
  kForbiddenHost,
  kForbiddenOrigin,
  kBadMode,
  kUnknownRequest,
  kNoAnswer,
};

/// One clear error for the client.
struct ClientError {
  int status = 500;  // if the head was not sent yet
  std::string type;  // OpenAI's error.type
  std::string code;
  std::string message;
  Duration retry_after{};    // > 0: Retry-After
  bool should_retry = true;  // false: x-should-retry: false
};

ClientError client_error(ErrorKind kind, std::string message, Duration retry_after = {});
ClientError model_not_found(std::string_view model);

}  // namespace hf::core
