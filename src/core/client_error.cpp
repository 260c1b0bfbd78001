#include "core/client_error.hpp"

#include <utility>

namespace hf::core {
namespace {

struct Row {
  int status;
  std::string_view code;
  bool should_retry;
};

// By ErrorKind. A retry cannot help where the same request would meet the same answer.
constexpr Row row(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kBadRequest: return {400, "bad_request", false};
    case ErrorKind::kTooLarge: return {413, "too_large", false};
    case ErrorKind::kReadTimeout: return {408, "timeout", false};
    case ErrorKind::kHeaderTooLarge: return {431, "too_large", false};
    case ErrorKind::kEngineRefused: return {400, "engine_refused", false};
    case ErrorKind::kUnknownPath: return {404, "unknown_path", false};
    case ErrorKind::kMethodNotAllowed: return {405, "method_not_allowed", false};
    case ErrorKind::kModelNotFound: return {404, "model_not_found", false};
    case ErrorKind::kCancelled: return {410, "cancelled", false};
    case ErrorKind::kPoisonSuspected: return {500, "poison_suspected", false};
    case ErrorKind::kUpstreamFailed: return {502, "upstream_failed", true};
    case ErrorKind::kAnswerTooLarge: return {502, "answer_too_large", false};
    case ErrorKind::kNoWorker: return {503, "no_worker", true};
    case ErrorKind::kQueueFull: return {503, "queue_full", true};
    case ErrorKind::kOverloaded: return {503, "overloaded", true};
    case ErrorKind::kShuttingDown: return {503, "shutting_down", true};
    case ErrorKind::kUnauthorized: return {401, "unauthorized", false};
    case ErrorKind::kForbiddenHost: return {403, "forbidden_host", false};
    case ErrorKind::kForbiddenOrigin: return {403, "forbidden_origin", false};
    case ErrorKind::kBadMode: return {400, "bad_mode", false};
    case ErrorKind::kUnknownRequest: return {404, "unknown_request", false};
    case ErrorKind::kNoAnswer: return {504, "no_answer", true};
  }
  return {500, "internal", true};
}

}  // namespace

ClientError client_error(ErrorKind kind, std::string message, Duration retry_after) {
  const Row found = row(kind);
  ClientError error;
  error.status = found.status;
  error.type = found.status < 500 ? "invalid_request_error" : "server_error";
  error.code = found.code;
  error.message = std::move(message);
  error.retry_after = retry_after;
  error.should_retry = found.should_retry;
  return error;
}

ClientError model_not_found(std::string_view model) {
  return client_error(
      ErrorKind::kModelNotFound,
      "The model `" + std::string(model) + "` does not exist; GET /v1/models lists those that do.");
}

}  // namespace hf::core
