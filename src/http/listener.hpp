// A listening socket of one core that hands every accepted socket to a coroutine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "http/endpoint.hpp"
#include "net/core.hpp"

namespace hf::http {

struct ListenOptions {
  std::string address;  // "127.0.0.1:8000", "[::1]:0", "localhost:0" (IPv4 first); port 0: any
  std::string flag = "--listen";  // named in error messages as the remedy
  bool reuse_port = false;        // several cores (or programs) may listen on the same port
  int backlog = 1024;
};

/// Core thread only, but open() may run on another thread before the core starts.
class Listener {
 public:
  using Handler = std::function<net::Task<void>(net::Socket)>;

  /// Binds and listens; connections queue in the kernel until start(). kBadInput for an address
  /// that does not parse, kSystem when the system refuses; the detail names address and remedy.
  static Result<std::unique_ptr<Listener>> open(net::Core& core, const ListenOptions& options);
  /// One listener per core, all on one port. Fails when somebody else listens there already, also
  /// with SO_REUSEPORT.
  static Result<std::vector<std::unique_ptr<Listener>>> open_on_all(
      const std::vector<net::Core*>& cores, ListenOptions options);

  ~Listener() { close(); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Spawns `handler(socket)` for each accepted socket (non-blocking, TCP_NODELAY). Out of file
  /// descriptors: accepting pauses 100 ms and goes on. Once; core thread, or before it starts.
  void start(Handler handler);
  /// Stops listening; handlers that run go on. Clients that wait to be accepted are reset.
  /// Idempotent.
  void close();
  /// Like close(), but nobody who is connected is reset: new ones are turned away (they find the
  /// port closed a second later), those that wait are handed over. Ends when the last one was,
  /// after 50 ms or a little more. The listener may go meanwhile.
  net::Task<void> finish();

  /// What was bound, with the real port.
  const Endpoint& endpoint() const { return endpoint_; }

 private:
  struct State;
  Listener(std::shared_ptr<State> state, Endpoint endpoint);
  static net::Task<void> accept_loop(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
  Endpoint endpoint_;
};

}  // namespace hf::http
