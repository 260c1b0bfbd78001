// `holdfast engine`: the simulator's engine model behind a socket.
//
// One core. The model's next event sets one exact timer; what the model then writes goes out at
// once, one chunk per event as the recorded engines do. A client that goes away is told to the
// model at once. Faults are the model's (POST /sim/fault); those that concern the process end it
// for real.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "http/listener.hpp"
#include "net/core.hpp"
#include "simulator/engine_api.hpp"

namespace hf::engine_server {

/// Unread bytes of one stream; a client that leaves more unread is reset.
inline constexpr std::size_t kUnsentBytesMax = 16UL * 1024 * 1024;
/// Connections at a time; more are closed at once.
inline constexpr std::size_t kConnectionsMax = 8192;

/// An engine on a core of the caller's. Core thread only; the constructor and listen() may run
/// before the core starts, the destructor after it has ended.
class EngineServer {
 public:
  /// What to do when a fault ends the process; the bytes that come before it were written.
  using OnAction = std::function<void(simulator::ProcessAction)>;

  EngineServer(net::Core& core, simulator::EngineApiOptions options, OnAction on_action);
  ~EngineServer();
  EngineServer(const EngineServer&) = delete;
  EngineServer& operator=(const EngineServer&) = delete;

  /// Starts serving on "host:port" (port 0: any) and tells what was bound. Errors of
  /// http::Listener::open.
  Result<http::Endpoint> listen(const std::string& address);

  /// Ends as the real engine ends at SIGTERM: no new connections, running streams end in its way
  /// (vLLM: error, [DONE], clean end; llama.cpp: cut), what was written is flushed for up to 1 s.
  net::Task<void> shut_down();

  std::size_t connections() const;
  const simulator::EngineModel& model() const;

 private:
  struct State;
  struct Connection;
  static net::Task<void> serve(std::shared_ptr<State> state, net::Socket socket);
  static bool is_writing(const State& state);
  static net::Task<void> end_all(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

struct EngineServerOptions {
  std::string listen = "127.0.0.1:0";
  simulator::EngineApiOptions api;
  std::string port_file;  // gets "PORT\n" once the engine answers; empty: none
};

/// The program: serves until SIGTERM, SIGINT or a fault. Prints one line when it is ready:
/// `holdfast engine: listening on 127.0.0.1:PORT dialect=vllm model=NAME`. Returns the exit code: 0
/// after a signal, 1 after an exit fault or when it cannot listen (told on stderr).
int run_engine(const EngineServerOptions& options);

}  // namespace hf::engine_server
