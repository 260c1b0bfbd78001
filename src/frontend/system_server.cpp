#include "frontend/system_server.hpp"

#include <map>
#include <utility>

#include "http/server_connection.hpp"
#include "net/clock.hpp"
#include "wire/json.hpp"
#include "wire/prometheus.hpp"

namespace hf::frontend {
namespace {

using core::WorkerState;

bool has_worker(const core::FleetView& view) {
  for (const auto& worker : view.workers) {
    const bool serves = core::takes_work(worker.state) || worker.state == WorkerState::kSuspect;
    if (serves && !worker.models.empty()) return true;
  }
  return false;
}

// True until every engine was heard of, or one is ready.
bool is_starting(const core::FleetView& view) {
  for (const auto& worker : view.workers) {
    if (worker.state != WorkerState::kRemoved && !worker.models.empty()) return false;
  }
  return true;
}

std::string health_body(const SystemState& state, const FleetSnapshot& snapshot, bool ok) {
  std::map<std::string_view, int> by_state;
  std::map<std::string_view, int> by_model;
  for (const auto& worker : snapshot.view.workers) {
    ++by_state[core::to_string(worker.state)];
    if (worker.state == WorkerState::kRemoved) continue;
    for (const auto& model : worker.models)
      by_model[model.name] += worker.state == WorkerState::kReady;
  }
  const bool draining = state.draining.load();
  std::string out = "{\"status\":\"";
  out += draining ? "draining" : ok ? "ok" : is_starting(snapshot.view) ? "starting" : "no_worker";
  out += "\",\"models\":{";
  const auto append = [&out](const auto& counts) {
    bool first = true;
    for (const auto& [name, count] : counts) {
      if (!std::exchange(first, false)) out += ',';
      wire::json_append_string(out, name);
      out += ":" + std::to_string(count);
    }
  };
  append(by_model);
  out += "},\"workers\":{";
  append(by_state);
  out += "},\"requests_running\":" + std::to_string(state.requests());
  out += ",\"discovery_age_seconds\":" +
         std::to_string(static_cast<std::int64_t>(seconds(net::now() - snapshot.at)));
  out += ",\"engines\":{";
  bool first_engine = true;
  for (std::size_t i = 0; i < snapshot.facts.size(); ++i) {
    if (snapshot.view.workers[i].state == WorkerState::kRemoved) continue;
    if (!std::exchange(first_engine, false)) out += ',';
    wire::json_append_string(out, snapshot.view.workers[i].name);
    out += ':';
    wire::json_append_string(out, snapshot.facts[i].taken_for);
  }
  out += '}';
  out += ",\"warnings\":[";
  bool first_warning = true;
  const auto warn = [&](std::string_view code, std::string_view message) {
    if (!std::exchange(first_warning, false)) out += ',';
    out += R"({"code":")" + std::string(code) + R"(","message":)";
    wire::json_append_string(out, message);
    out += '}';
  };
  for (const auto& [model, count] : by_model) {
    if (count >= 2) continue;
    warn("insufficient_replicas", "model " + std::string(model) + " has " + std::to_string(count) +
                                      " ready worker(s): a failure has nowhere to go");
  }
  for (const auto& worker : snapshot.view.workers) {
    if (worker.state != WorkerState::kDead && worker.state != WorkerState::kStarting) continue;
    warn("worker_unreachable",
         "worker " + worker.name + " is " + std::string(core::to_string(worker.state)));
  }
  if (const auto keyless = state.keyless ? state.keyless() : 0; keyless > 0) {
    warn("session_key_missing",
         std::to_string(keyless) + " request(s) had no session key and were placed by load");
  }
  return out + "]}";
}

http::Response text(int status, std::string body) {
  http::Response response;
  response.status = status;
  response.headers.append("Content-Type", "text/plain; charset=utf-8");
  response.body = std::move(body);
  return response;
}

}  // namespace

http::Response system_page(const SystemState& state, const http::Request& request) {
  if (request.method != "GET" && request.method != "HEAD") return text(405, "GET only\n");
  const auto snapshot = state.fleet();
  const bool draining = state.draining.load();
  if (request.path == "/live") return text(200, "live\n");
  if (request.path == "/ready") {
    const bool ready = !draining && !is_starting(snapshot->view);
    return text(ready ? 200 : 503, ready ? "ready\n" : draining ? "draining\n" : "starting\n");
  }
  if (request.path == "/health") {
    const bool ok = !draining && has_worker(snapshot->view);
    http::Response response;
    response.status = ok ? 200 : 503;
    response.headers.append("Content-Type", "application/json");
    response.body = health_body(state, *snapshot, ok);
    return response;
  }
  if (request.path == "/metrics") {
    http::Response response;
    response.headers.append("Content-Type", std::string(wire::kPrometheusContentType));
    response.body = state.metrics();
    return response;
  }
  return text(404, "Pages here: /live, /ready, /health, /metrics\n");
}

net::Task<void> serve_system(net::Core& core, const SystemState& state, net::Socket socket) {
  http::ServerConnection client(core, std::move(socket));
  for (;;) {
    http::ReadLimits limits;
    limits.body_bytes_max = 64UL * 1024;
    auto request = co_await client.read_request(limits);
    if (!request) {
      if (request.error().status != 0) {
        http::append_response(client.out(),
                              text(request.error().status, request.error().error.detail), false);
        client.flush_now();
      }
      break;
    }
    http::append_response(client.out(), system_page(state, *request), request->keep_alive);
    client.flush_now();
    if (!request->keep_alive) break;
  }
  if (!client.gone()) co_await client.close_gracefully();
}

}  // namespace hf::frontend
