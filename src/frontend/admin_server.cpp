#include "frontend/admin_server.hpp"

#include <algorithm>
#include <utility>

#include "frontend/error_response.hpp"
#include "http/server_connection.hpp"
#include "net/clock.hpp"
#include "wire/json.hpp"

namespace hf::frontend {
namespace {

constexpr std::string_view kRequests = "/v1/requests";
constexpr std::string_view kCancel = "/cancel";
constexpr std::string_view kBearer = "bearer ";
constexpr std::size_t kBodyBytesMax = 64UL * 1024;
constexpr int kConnectionsMax = 64;

// The time it takes tells nothing but the length of what was sent.
bool same(std::string_view given, std::string_view token) {
  unsigned difference = given.size() == token.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |=
        static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(token[i % token.size()]);
  }
  return difference == 0;
}

bool is_loopback_name(std::string_view host) {
  if (const auto colon = host.rfind(':'); colon != host.npos && !host.ends_with(']'))
    host = host.substr(0, colon);
  return host == "[::1]" || wire::iequals(host, "localhost") || host == "127.0.0.1";
}

http::Response json(std::string body) {
  http::Response response;
  response.headers.append("Content-Type", "application/json");
  response.headers.append("Cache-Control", "no-store");
  response.body = std::move(body);
  return response;
}

std::string list_body(const FromCores<std::vector<std::string>>& from) {
  std::string out = R"({"complete":)";
  out += from.complete ? "true" : "false";
  out += R"(,"requests":[)";
  bool first = true;
  for (const auto& core : from.answers) {
    for (const auto& request : core) {
      if (!std::exchange(first, false)) out += ',';
      out += request;
    }
  }
  return out + "]}\n";
}

std::string failed_body(const FailedRequest& failed) {
  std::string out = R"({"id":)";
  wire::json_append_string(out, failed.id);
  out += R"(,"state":"failed","status":)" + std::to_string(failed.status) + R"(,"outcome":)";
  wire::json_append_string(out, failed.outcome);
  out += R"(,"line":)";
  wire::json_append_string(out, failed.line);
  return out + "}\n";
}

std::optional<core::CancelMode> cancel_mode(std::string_view query) {
  if (query == "mode=stop") return core::CancelMode::kStop;
  if (query == "mode=kill") return core::CancelMode::kKill;
  return std::nullopt;
}

net::Task<http::Response> show(const AdminState& state, std::string id) {
  auto asking = state.describe(id);
  const auto running = co_await std::move(asking);
  for (const auto& core : running.answers) {
    if (!core.empty()) co_return json(core.front() + "\n");
  }
  if (const auto failed = state.failed->find(id)) co_return json(failed_body(*failed));
  co_return error_response(
      admin_error(running.complete ? AdminError::kUnknownRequest : AdminError::kNoAnswer, id), {});
}

net::Task<http::Response> cancel(const AdminState& state, std::string id, std::string query) {
  const auto mode = cancel_mode(query);
  if (!mode) co_return error_response(admin_error(AdminError::kMode, query), {});
  auto asking = state.cancel(id, *mode);
  const auto done = co_await std::move(asking);
  std::size_t cancelled = 0;
  for (const auto count : done.answers) cancelled += count;
  if (cancelled == 0) {
    co_return error_response(
        admin_error(done.complete ? AdminError::kUnknownRequest : AdminError::kNoAnswer, id), {});
  }
  std::string body = R"({"id":)";
  wire::json_append_string(body, id);
  body += R"(,"mode":")";
  body += *mode == core::CancelMode::kStop ? "stop" : "kill";
  body += R"(","cancelled":)" + std::to_string(cancelled) + "}\n";
  co_return json(std::move(body));
}

}  // namespace

std::optional<core::ClientError> admin_refusal(const AdminState& state,
                                               const http::Request& request) {
  // A browser's page may reach a loopback port, and needs no leave for a plain POST.
  if (request.headers.count("origin") > 0 || request.headers.count("sec-fetch-site") > 0) {
    return admin_error(AdminError::kBrowser, {});
  }
  if (state.token.empty()) {
    const auto host = request.headers.find("host").value_or("");
    if (!is_loopback_name(host)) return admin_error(AdminError::kHost, host);
    return std::nullopt;
  }
  const auto given = request.headers.find("authorization").value_or("");
  if (request.headers.count("authorization") == 1 && given.size() > kBearer.size() &&
      wire::iequals(given.substr(0, kBearer.size()), kBearer) &&
      same(given.substr(kBearer.size()), state.token)) {
    return std::nullopt;
  }
  return admin_error(AdminError::kToken, {});
}

net::Task<http::Response> admin_answer(const AdminState& state, http::Request request) {
  std::string_view path = request.path;
  if (path == kRequests) {
    if (request.method != "GET") co_return error_response(admin_error(AdminError::kMethod, {}), {});
    auto asking = state.describe({});
    const auto all = co_await std::move(asking);
    co_return json(list_body(all));
  }
  if (!path.starts_with(kRequests) || path[kRequests.size()] != '/') {
    co_return error_response(admin_error(AdminError::kPath, path), {});
  }
  path.remove_prefix(kRequests.size() + 1);
  const bool is_cancel = path.ends_with(kCancel);
  if (is_cancel) path.remove_suffix(kCancel.size());
  if (path.empty() || path.find('/') != path.npos) {
    co_return error_response(admin_error(AdminError::kPath, request.path), {});
  }
  if (request.method != (is_cancel ? "POST" : "GET")) {
    co_return error_response(admin_error(AdminError::kMethod, {}), {});
  }
  auto answering =
      is_cancel ? cancel(state, std::string(path), request.query) : show(state, std::string(path));
  co_return co_await std::move(answering);
}

net::Task<void> serve_admin(net::Core& core, const AdminState& state, net::Socket socket) {
  static thread_local int connections = 0;
  http::ServerConnection client(core, std::move(socket));
  if (connections >= kConnectionsMax) {
    client.reset();
    co_return;
  }
  ++connections;
  http::ReadLimits limits;
  limits.body_bytes_max = kBodyBytesMax;
  for (;;) {
    auto request = co_await client.read_request(limits);
    if (!request) {
      const auto& failure = request.error();
      if (failure.status == 0) break;
      const auto error = read_failure(failure.status, failure.error.detail);
      http::append_response(client.out(), error_response(error, {}), false);
      break;
    }
    const bool keep = request->keep_alive;
    http::Response response;
    if (const auto refused = admin_refusal(state, *request)) {
      response = error_response(*refused, {});
    } else {
      auto answering = admin_answer(state, std::move(*request));
      response = co_await std::move(answering);
    }
    http::append_response(client.out(), response, keep);
    client.flush_now();
    if (!keep || !co_await client.drained(kBodyBytesMax, net::now() + limits.idle_max)) break;
  }
  co_await client.close_gracefully();
  --connections;
}

}  // namespace hf::frontend
