// The admin listener: what changes state or tells of single requests. docs/operations.md.
//
//   GET  /v1/requests                         those that run now
//   GET  /v1/requests/{id}                    one that runs, or of the last 1,000 that failed
//   POST /v1/requests/{id}/cancel?mode=M      stop: what was produced stays; kill: an error
//
// Whoever may connect may cancel, so: a token (always where the address is not loopback), no CORS,
// nothing for browsers, and without a token only for a loopback Host (DNS rebinding).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/request_machine.hpp"
#include "frontend/failed_requests.hpp"
#include "http/message.hpp"
#include "net/core.hpp"

namespace hf::frontend {

/// What the data cores said. `complete` is false where one did not answer in time.
template <class T>
struct FromCores {
  std::vector<T> answers;
  bool complete = true;
};

struct AdminState {
  std::string token;  // empty: none is asked for
  /// JSON objects of the requests that run; of one id, or of all where it is empty.
  std::function<net::Task<FromCores<std::vector<std::string>>>(std::string id)> describe;
  /// How many requests of that id were cancelled, by core.
  std::function<net::Task<FromCores<std::size_t>>(std::string id, core::CancelMode mode)> cancel;
  const FailedRequests* failed = nullptr;
};

/// nullopt: it may ask. Every comparison of the token takes the same time.
std::optional<core::ClientError> admin_refusal(const AdminState& state,
                                               const http::Request& request);

/// The answer to one request that may ask. `state` must outlive it.
net::Task<http::Response> admin_answer(const AdminState& state, http::Request request);

/// Serves one connection. At most 64 at a time; more are reset.
net::Task<void> serve_admin(net::Core& core, const AdminState& state, net::Socket socket);

}  // namespace hf::frontend
