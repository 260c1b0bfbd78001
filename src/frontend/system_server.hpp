// The system port: /live, /ready, /health and /metrics, for orchestrators and Prometheus.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "frontend/fleet.hpp"
#include "http/listener.hpp"
#include "http/message.hpp"
#include "net/core.hpp"

namespace hf::frontend {

/// What the pages tell. Read on the control core.
struct SystemState {
  std::function<std::shared_ptr<const FleetSnapshot>()> fleet;
  std::function<std::size_t()> requests;
  std::function<std::string()> metrics;
  std::function<std::uint64_t()> keyless;  // requests without a session key; null: none asked for
  std::atomic<bool> draining{false};
};

/// The answer to one request; GET only.
http::Response system_page(const SystemState& state, const http::Request& request);

/// Serves one connection.
net::Task<void> serve_system(net::Core& core, const SystemState& state, net::Socket socket);

}  // namespace hf::frontend
