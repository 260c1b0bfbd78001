#include "frontend/client_session.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "frontend/data_core.hpp"
#include "frontend/error_response.hpp"
#include "frontend/request_driver.hpp"
#include "http/server_connection.hpp"
#include "net/clock.hpp"
#include "wire/json.hpp"

namespace hf::frontend {
namespace {

constexpr std::size_t kRequestIdMax = 128;

bool is_request_id(std::string_view id) {
  const auto fits = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
  };
  return !id.empty() && id.size() <= kRequestIdMax && std::ranges::all_of(id, fits);
}

std::string models_body(const core::FleetView& view) {
  std::string out = R"({"object":"list","data":[)";
  std::vector<std::string_view> listed;
  for (const auto& worker : view.workers) {
    if (worker.state != core::WorkerState::kReady && worker.state != core::WorkerState::kSuspect)
      continue;
    for (const auto& model : worker.models) {
      if (std::ranges::find(listed, model.name) != listed.end()) continue;
      if (!listed.empty()) out += ',';
      listed.push_back(model.name);
      out += R"({"id":)";
      wire::json_append_string(out, model.name);
      out += R"(,"object":"model","created":0,"owned_by":"holdfast")";
      if (model.max_len > 0) out += ",\"max_model_len\":" + std::to_string(model.max_len);
      out += '}';
    }
  }
  return out + "]}";
}

std::optional<core::Endpoint> generation_endpoint(const http::Request& request) {
  if (request.method != "POST") return std::nullopt;
  if (request.path == "/v1/chat/completions") return core::Endpoint::kChat;
  if (request.path == "/v1/completions") return core::Endpoint::kCompletions;
  return std::nullopt;
}

/// True: the connection may serve another request.
net::Task<bool> generate(DataCore& core, http::ServerConnection& client, http::Request request,
                         core::Endpoint endpoint, std::string request_id) {
  auto driver = std::make_shared<RequestDriver>(core, client, std::move(request), endpoint,
                                                std::move(request_id));
  const auto place = core.add(driver);
  driver->start(net::now());
  while (!driver->is_finished()) co_await driver->finished().wait();
  const bool keep = driver->keep_connection();
  core.remove(place);
  co_return keep;
}

net::Task<bool> answer(DataCore& core, http::ServerConnection& client, http::Request request) {
  const auto given = request.headers.find("x-request-id");
  std::string request_id =
      given && is_request_id(*given) ? std::string(*given) : core.new_id("hf-");
  const bool keep = request.keep_alive && !core.is_draining();
  if (const auto endpoint = generation_endpoint(request)) {
    auto generation = generate(core, client, std::move(request), *endpoint, std::move(request_id));
    co_return co_await std::move(generation);
  }
  http::Response response;
  if (request.method == "GET" && request.path == "/v1/models") {
    response.headers.append("Content-Type", "application/json");
    response.headers.append("x-request-id", request_id);
    response.body = models_body(core.fleet().view);
  } else {
    response = error_response(not_found(request.method, request.path), request_id);
  }
  http::append_response(client.out(), response, keep);
  client.flush_now();
  co_return keep;
}

}  // namespace

net::Task<void> serve_client(DataCore& core, net::Socket socket) {
  http::ServerConnection client(core.core(), std::move(socket));
  core.connection_opened();
  for (;;) {
    auto request = co_await client.read_request();
    if (!request) {
      if (request.error().status != 0) {
        const auto error = read_failure(request.error().status, request.error().error.detail);
        http::append_response(client.out(), error_response(error, {}), false);
        client.flush_now();
      }
      break;
    }
    auto answered = answer(core, client, std::move(*request));
    if (!co_await std::move(answered)) break;
    if (client.gone()) break;
  }
  if (!client.gone()) co_await client.close_gracefully();
  core.connection_closed();
}

}  // namespace hf::frontend
