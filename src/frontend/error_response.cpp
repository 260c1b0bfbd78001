#include "frontend/error_response.hpp"

#include <algorithm>

#include "wire/json.hpp"

namespace hf::frontend {
namespace {

using core::ErrorKind;

constexpr Duration kRetryAfterMax = std::chrono::seconds(30);

// Anthropic's words for a status.
std::string_view anthropic_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
  }
}

}  // namespace

std::string error_body(const core::ClientError& error, StreamForm form) {
  const bool anthropic = form == StreamForm::kMessages;
  std::string out =
      anthropic ? R"({"type":"error","error":{"message":)" : R"({"error":{"message":)";
  wire::json_append_string(out, error.message);
  out += R"(,"type":)";
  wire::json_append_string(out, anthropic ? anthropic_type(error.status) : error.type);
  out += R"(,"param":null,"code":)";
  wire::json_append_string(out, error.code);
  out += "}}";
  return out;
}

http::Response error_response(const core::ClientError& error, std::string_view request_id,
                              StreamForm form) {
  http::Response response;
  response.status = error.status;
  response.headers.append("Content-Type", "application/json");
  if (!request_id.empty()) response.headers.append("x-request-id", std::string(request_id));
  if (error.retry_after.count() > 0) {
    const auto wait = std::min<Duration>(error.retry_after, kRetryAfterMax);
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait);
    const auto whole = std::max<std::int64_t>((ms.count() + 999) / 1000, 1);
    response.headers.append("Retry-After", std::to_string(whole));
    response.headers.append("retry-after-ms", std::to_string(ms.count()));
  }
  if (!error.should_retry) response.headers.append("x-should-retry", "false");
  response.body = error_body(error, form);
  return response;
}

std::string error_event(const core::ClientError& error) {
  return "data: " + error_body(error) + "\n\n";
}

core::ClientError bad_request(const Error& error) {
  const bool too_large = error.code == Code::kTooLarge;
  auto out =
      core::client_error(too_large ? ErrorKind::kTooLarge : ErrorKind::kBadRequest, error.detail);
  out.code = to_string(error.code);
  return out;
}

core::ClientError read_failure(int status, std::string_view detail) {
  const auto kind = status == 413   ? ErrorKind::kTooLarge
                    : status == 431 ? ErrorKind::kHeaderTooLarge
                    : status == 408 ? ErrorKind::kReadTimeout
                                    : ErrorKind::kBadRequest;
  auto out = core::client_error(kind, std::string(detail));
  out.status = status;
  return out;
}

core::ClientError not_found(std::string_view method, std::string_view path,
                            std::string_view listing) {
  return core::client_error(ErrorKind::kUnknownPath, "No such endpoint: " + std::string(method) +
                                                         " " + std::string(path) + ". Served are " +
                                                         std::string(listing) + ".");
}

core::ClientError wrong_method(std::string_view method, std::string_view path,
                               std::string_view allow) {
  return core::client_error(ErrorKind::kMethodNotAllowed, std::string(path) + " does not take " +
                                                              std::string(method) + "; it takes " +
                                                              std::string(allow) + ".");
}

core::ClientError overloaded(std::string_view limit, Duration retry_after) {
  return core::client_error(ErrorKind::kOverloaded,
                            "This frontend is at its limit " + std::string(limit) + "; try again.",
                            retry_after);
}

core::ClientError admin_error(AdminError error, std::string_view what) {
  const auto named = "`" + std::string(what.substr(0, 128)) + "`";
  switch (error) {
    case AdminError::kToken:
      return core::client_error(
          ErrorKind::kUnauthorized,
          "Send the admin token: Authorization: Bearer TOKEN (--admin-token).");
    case AdminError::kHost:
      return core::client_error(ErrorKind::kForbiddenHost,
                                "Host " + named + " is not this machine's own name; call " +
                                    "127.0.0.1 or localhost, or set --admin-token.");
    case AdminError::kBrowser:
      return core::client_error(ErrorKind::kForbiddenOrigin,
                                "Web pages may not call the admin API; use curl.");
    case AdminError::kPath:
      return core::client_error(ErrorKind::kUnknownPath,
                                "No such page: " + named + ". There are GET /v1/requests, GET " +
                                    "/v1/requests/ID and POST " +
                                    "/v1/requests/ID/cancel?mode=stop|kill.");
    case AdminError::kMethod:
      return core::client_error(ErrorKind::kMethodNotAllowed,
                                "GET for what is to be shown, POST for /v1/requests/ID/cancel.");
    case AdminError::kMode:
      return core::client_error(ErrorKind::kBadMode,
                                "Say how: ?mode=stop keeps what was produced, ?mode=kill ends "
                                "with an error; " +
                                    named + " is neither.");
    case AdminError::kUnknownRequest:
      return core::client_error(
          ErrorKind::kUnknownRequest,
          "No request " + named + " runs here, and it is not among the last that failed. GET " +
              "/v1/requests lists those that run; other replicas have their own.");
    case AdminError::kNoAnswer:
      return core::client_error(ErrorKind::kNoAnswer,
                                "A data core did not answer in time; try again.");
  }
  return {};
}

}  // namespace hf::frontend
