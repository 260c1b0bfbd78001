#include "frontend/error_response.hpp"

#include <algorithm>

#include "wire/json.hpp"

namespace hf::frontend {

namespace {

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
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(error.retry_after);
    const auto whole = std::clamp<std::int64_t>((ms.count() + 999) / 1000, 1, 30);
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
  core::ClientError out;
  out.status = error.code == Code::kTooLarge ? 413 : 400;
  out.type = "invalid_request_error";
  out.code = std::string(to_string(error.code));
  out.message = error.detail;
  out.should_retry = false;
  return out;
}

core::ClientError not_found(std::string_view method, std::string_view path,
                            std::string_view listing) {
  core::ClientError out;
  out.status = 404;
  out.type = "invalid_request_error";
  out.code = "unknown_path";
  out.message = "No such endpoint: " + std::string(method) + " " + std::string(path) +
                ". Served are " + std::string(listing) + ".";
  out.should_retry = false;
  return out;
}

core::ClientError wrong_method(std::string_view method, std::string_view path,
                               std::string_view allow) {
  core::ClientError out;
  out.status = 405;
  out.type = "invalid_request_error";
  out.code = "method_not_allowed";
  out.message = std::string(path) + " does not take " + std::string(method) + "; it takes " +
                std::string(allow) + ".";
  out.should_retry = false;
  return out;
}

core::ClientError model_not_found(std::string_view model) {
  core::ClientError out;
  out.status = 404;
  out.type = "invalid_request_error";
  out.code = "model_not_found";
  out.message =
      "The model `" + std::string(model) + "` does not exist; GET /v1/models lists those that do.";
  out.should_retry = false;
  return out;
}

core::ClientError overloaded(std::string_view limit) {
  core::ClientError out;
  out.status = 503;
  out.type = "server_error";
  out.code = "overloaded";
  out.message = "This frontend is at its limit " + std::string(limit) + "; try again.";
  out.retry_after = std::chrono::seconds(1);
  return out;
}

core::ClientError admin_error(AdminError error, std::string_view what) {
  const auto named = "`" + std::string(what.substr(0, 128)) + "`";
  const auto answer = [](int status, std::string_view code, std::string message) {
    core::ClientError out;
    out.status = status;
    out.type = status == 504 ? "server_error" : "invalid_request_error";
    out.code = code;
    out.message = std::move(message);
    return out;
  };
  switch (error) {
    case AdminError::kToken:
      return answer(401, "unauthorized",
                    "Send the admin token: Authorization: Bearer TOKEN (--admin-token).");
    case AdminError::kHost:
      return answer(403, "forbidden_host",
                    "Host " + named + " is not this machine's own name; call 127.0.0.1 or " +
                        "localhost, or set --admin-token.");
    case AdminError::kBrowser:
      return answer(403, "forbidden_origin", "Web pages may not call the admin API; use curl.");
    case AdminError::kPath:
      return answer(404, "unknown_path",
                    "No such page: " + named + ". There are GET /v1/requests, GET " +
                        "/v1/requests/ID and POST /v1/requests/ID/cancel?mode=stop|kill.");
    case AdminError::kMethod:
      return answer(405, "method_not_allowed",
                    "GET for what is to be shown, POST for /v1/requests/ID/cancel.");
    case AdminError::kMode:
      return answer(400, "bad_mode",
                    "Say how: ?mode=stop keeps what was produced, ?mode=kill ends with an error; " +
                        named + " is neither.");
    case AdminError::kUnknownRequest:
      return answer(404, "unknown_request",
                    "No request " + named + " runs here, and it is not among the last that " +
                        "failed. GET /v1/requests lists those that run; other replicas have their "
                        "own.");
    case AdminError::kNoAnswer:
      return answer(504, "no_answer", "A data core did not answer in time; try again.");
  }
  return {};
}

core::ClientError read_failure(int status, std::string_view detail) {
  core::ClientError out;
  out.status = status;
  out.type = "invalid_request_error";
  out.code = status == 413 || status == 431 ? "too_large"
             : status == 408                ? "timeout"
                                            : "bad_request";
  out.message = std::string(detail);
  out.should_retry = false;
  return out;
}

}  // namespace hf::frontend
