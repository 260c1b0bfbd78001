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
constexpr std::size_t kUnreadAnswerBytesMax = 64UL * 1024;

bool is_request_id(std::string_view id) {
  const auto fits = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
  };
  return !id.empty() && id.size() <= kRequestIdMax && std::ranges::all_of(id, fits);
}

void append_model(std::string& out, const core::ModelEntry& model) {
  out += R"({"id":)";
  wire::json_append_string(out, model.name);
  out += R"(,"object":"model","created":0,"owned_by":"holdfast")";
  if (model.max_len > 0) out += ",\"max_model_len\":" + std::to_string(model.max_len);
  out += '}';
}

/// Every model that some worker serves now, each once.
std::vector<core::ModelEntry> served_models(const core::FleetView& view) {
  std::vector<core::ModelEntry> listed;
  for (const auto& worker : view.workers) {
    if (!core::takes_work(worker.state) && worker.state != core::WorkerState::kSuspect) continue;
    for (const auto& model : worker.models) {
      if (std::ranges::find(listed, model.name, &core::ModelEntry::name) != listed.end()) continue;
      listed.push_back(model);
    }
  }
  return listed;
}

std::string models_body(const core::FleetView& view) {
  std::string out = R"({"object":"list","data":[)";
  for (const auto& model : served_models(view)) {
    if (out.back() == '}') out += ',';
    append_model(out, model);
  }
  return out + "]}";
}

// What is answered here, without an engine.
http::Response own_answer(DataCore& core, const http::Request& request, const Destination& to,
                          const std::string& request_id) {
  http::Response response;
  response.headers.append("x-request-id", request_id);
  const bool any = request.target == "*";
  if (request.method == "OPTIONS" && (any || !to.allow.empty())) {
    response.status = 204;
    response.headers.append("Allow", any ? "GET, HEAD, OPTIONS, POST" : std::string(to.allow));
    return response;
  }
  response.headers.append("Content-Type", "application/json");
  const auto models = served_models(core.fleet().view);
  switch (to.kind) {
    case Destination::Kind::kModels: response.body = models_body(core.fleet().view); break;
    case Destination::Kind::kModel: {
      const auto found = std::ranges::find(models, to.model, &core::ModelEntry::name);
      if (found == models.end()) return error_response(core::model_not_found(to.model), request_id);
      append_model(response.body, *found);
      break;
    }
    case Destination::Kind::kWrongMethod: {
      response = error_response(wrong_method(request.method, request.path, to.allow), request_id);
      response.headers.append("Allow", std::string(to.allow));
      break;
    }
    default:
      return error_response(not_found(request.method, request.path, core.routes().listing()),
                            request_id);
  }
  return response;
}

/// True: the connection may serve another request.
net::Task<bool> generate(DataCore& core, http::ServerConnection& client, http::Request request,
                         Destination to, std::string request_id) {
  auto driver =
      std::make_shared<RequestDriver>(core, client, std::move(request), to, std::move(request_id));
  const auto place = core.add(driver);
  driver->start(net::now());
  while (!driver->is_finished()) co_await driver->finished().wait();
  const bool keep = driver->keep_connection();
  core.remove(place);
  co_return keep;
}

core::ClientError overloaded(DataCore& core, std::string_view limit) {
  return frontend::overloaded(limit, core.shared().admission.retry_after(net::now()));
}

net::Task<bool> answer(DataCore& core, http::ServerConnection& client, http::Request request) {
  const auto given = request.headers.find("x-request-id");
  std::string request_id =
      given && is_request_id(*given) ? std::string(*given) : core.new_id("hf-");
  const bool keep = request.keep_alive && !core.is_draining();
  if (request.method == "POST" && core.is_full()) {
    core.shared().metrics.shed_total.with(telemetry::kUnknownModel, "running")->add();
    const auto refusal = error_response(overloaded(core, "limits.running_max"), request_id);
    http::append_response(client.out(), refusal, keep);
    client.flush_now();
    co_return keep;
  }
  auto to = core.routes().find(request.method, request.path);
  if (to.kind == Destination::Kind::kGenerate || to.kind == Destination::Kind::kRelay) {
    auto generation =
        generate(core, client, std::move(request), std::move(to), std::move(request_id));
    co_return co_await std::move(generation);
  }
  auto response = own_answer(core, request, to, request_id);
  http::HeadOptions options;
  options.length = response.body.size();
  options.keep_alive = keep;
  http::append_response_head(client.out(), response.status, response.headers, options);
  if (request.method != "HEAD") client.out() += response.body;
  client.flush_now();
  co_return keep;
}

void refuse(DataCore& core, http::ServerConnection& client, const core::ClientError& error) {
  http::append_response(client.out(), error_response(error, core.new_id("hf-")), false);
  client.flush_now();
}

http::ReadLimits read_limits(DataCore& core) {
  const auto& limits = core.options().limits;
  http::ReadLimits out;
  out.head_bytes_max = static_cast<std::size_t>(limits.header_bytes_max);
  out.body_bytes_max = static_cast<std::size_t>(limits.body_bytes_max);
  out.idle_max = limits.idle_timeout;
  out.head_max = limits.header_timeout;
  out.body_progress_max = limits.body_timeout;
  out.budget = &core.shared().usage.bytes;
  return out;
}

// Over the limit of connections: told so, a few at a time.
net::Task<void> refuse_connection(DataCore& core, http::ServerConnection& client) {
  core.shared().metrics.shed_total.with(telemetry::kUnknownModel, "connections")->add();
  if (!core.may_refuse_slowly()) {
    client.reset();
    co_return;
  }
  core.refusing(1);
  refuse(core, client, overloaded(core, "limits.connections_max"));
  co_await client.close_gracefully();
  core.refusing(-1);
}

void request_unread(DataCore& core, http::ServerConnection& client,
                    const http::ReadFailure& failure) {
  auto& metrics = core.shared().metrics;
  if (failure.status == 0) return;
  if (failure.status == 408) metrics.clients_cut_total.with("request_timeout")->add();
  if (failure.status == 503) {
    metrics.shed_total.with(telemetry::kUnknownModel, "bytes")->add();
    refuse(core, client, overloaded(core, "continuation.bytes_max"));
    return;
  }
  refuse(core, client, read_failure(failure.status, failure.error.detail));
}

net::Task<void> serve_requests(DataCore& core, http::ServerConnection& client, ClientPlace place) {
  for (;;) {
    // Answers that nobody reads do not pile up: cut_slow_clients() ends the wait.
    if (client.unsent() > kUnreadAnswerBytesMax && !co_await client.drained(kUnreadAnswerBytesMax))
      break;
    core.client_waits(place);
    auto reading = client.read_request(read_limits(core));
    auto request = co_await std::move(reading);
    core.client_is_served(place);
    if (!request) {
      request_unread(core, client, request.error());
      break;
    }
    auto answered = answer(core, client, std::move(*request));
    if (!co_await std::move(answered)) break;
  }
}

}  // namespace

net::Task<void> serve_client(DataCore& core, net::Socket socket) {
  http::ServerConnection client(core.core(), std::move(socket));
  const auto place = core.add_client(client);
  if (!place) {
    auto refused = refuse_connection(core, client);
    co_await std::move(refused);
    co_return;
  }
  auto serving = serve_requests(core, client, *place);
  co_await std::move(serving);
  // Also one that ended its side may still read the rest of its answer.
  co_await client.close_gracefully();
  core.remove_client(*place);
}

}  // namespace hf::frontend
