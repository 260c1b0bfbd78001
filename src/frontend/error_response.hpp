// What an error looks like to a client: OpenAI's body, or the form of the endpoint that was called;
// and the words of the errors that are found here. Their statuses: core/client_error.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "core/client_error.hpp"
#include "frontend/routes.hpp"
#include "http/message.hpp"

namespace hf::frontend {

/// {"error":{"message","type","param","code"}}; for Anthropic's clients also "type":"error" beside
/// it, and their types in it.
std::string error_body(const core::ClientError& error, StreamForm form = StreamForm::kOpenAi);
/// One whole response, with Retry-After, retry-after-ms and x-should-retry where they apply.
http::Response error_response(const core::ClientError& error, std::string_view request_id,
                              StreamForm form = StreamForm::kOpenAi);
/// The same error in a started stream: one SSE event.
std::string error_event(const core::ClientError& error);

core::ClientError bad_request(const Error& error);
/// `listing` names what is served.
core::ClientError not_found(std::string_view method, std::string_view path,
                            std::string_view listing);
core::ClientError wrong_method(std::string_view method, std::string_view path,
                               std::string_view allow);
/// A limit of this frontend is reached: to be tried again when the pace of placements allows.
core::ClientError overloaded(std::string_view limit, Duration retry_after);
/// Answers of the admin listener; `what` is the id, path, host or query that is wrong.
enum class AdminError : std::uint8_t {
  kToken,
  kHost,
  kBrowser,
  kPath,
  kMethod,
  kMode,
  kUnknownRequest,
  kNoAnswer,
};
core::ClientError admin_error(AdminError error, std::string_view what);
core::ClientError read_failure(int status, std::string_view detail);

}  // namespace hf::frontend
