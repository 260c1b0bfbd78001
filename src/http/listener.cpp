#include "http/listener.hpp"

#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <linux/filter.h>
#include <sys/socket.h>

#include "net/clock.hpp"
#include "net/signal.hpp"

namespace hf::http {
namespace {

using ErrorCode = boost::system::error_code;

constexpr Duration kFullPause = std::chrono::milliseconds(100);
constexpr Duration kHandshakeMax = std::chrono::milliseconds(50);

// From now on the kernel drops what would open a connection (SYN without ACK, in the 14th byte of
// the TCP header, where such a filter begins to read). Whoever sent it sends it again a second
// later, to another listener or into a refusal. Else one that connects between our last accept()
// and the close would be reset. Where the kernel refuses the filter that small gap stays.
void turn_away_new(int fd) {
  std::array<sock_filter, 5> code{{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xFFFFFFFF),
  }};
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

Error cannot_listen(const ListenOptions& options, const ErrorCode& error) {
  Error result;
  result.code = Code::kSystem;
  result.detail = "cannot listen on " + options.address + ": ";
  if (error == net::asio::error::address_in_use) {
    result.detail += "address already in use; choose another with " + options.flag;
  } else if (error == net::asio::error::access_denied) {
    result.detail += "permission denied; choose a port above 1023 with " + options.flag;
  } else {
    result.detail += error.message() + "; choose another with " + options.flag;
  }
  return result;
}

Result<net::Tcp::endpoint> resolve(net::Core& core, const ListenOptions& options) {
  auto endpoint = parse_endpoint(options.address);
  if (!endpoint) {
    endpoint.error().detail = options.flag + ": " + endpoint.error().detail;
    return std::unexpected(endpoint.error());
  }
  ErrorCode error;
  const auto address = net::asio::ip::make_address(endpoint->host, error);
  if (!error) return net::Tcp::endpoint(address, endpoint->port);
  // A name: at start-up only, so the blocking resolver will do.
  net::Resolver resolver(core.executor());
  const auto found = resolver.resolve(endpoint->host, std::to_string(endpoint->port),
                                      net::Resolver::passive, error);
  if (error || found.empty()) return std::unexpected(cannot_listen(options, error));
  // "localhost" has two addresses; clients that write 127.0.0.1 must find us.
  for (const auto& entry : found) {
    if (entry.endpoint().address().is_v4()) return entry.endpoint();
  }
  return found.begin()->endpoint();
}

ErrorCode bind_and_listen(net::Acceptor& acceptor, const net::Tcp::endpoint& endpoint,
                          const ListenOptions& options) {
  ErrorCode error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(net::Acceptor::reuse_address(true), error);
  if (!error && options.reuse_port) {
    const int on = 1;
    if (setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
      error = ErrorCode(errno, boost::system::system_category());
    }
  }
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(options.backlog, error);
  return error;
}

}  // namespace

struct Listener::State {
  explicit State(net::Core& on) : core(on), acceptor(on.executor()) {}

  void hand_over(net::Socket socket) {
    ErrorCode ignored;
    socket.non_blocking(true, ignored);
    socket.set_option(net::Tcp::no_delay(true), ignored);
    core.spawn(handler(std::move(socket)), "http connection");
  }

  void take_waiting() {
    ErrorCode error;
    acceptor.non_blocking(true, error);
    while (!is_closed && !error && handler) {
      net::Socket socket(core.executor());
      acceptor.accept(socket, error);
      if (!error) hand_over(std::move(socket));
      if (error == net::asio::error::connection_aborted) error.clear();
    }
  }

  void close() {
    if (is_closed) return;
    is_closed = true;
    ErrorCode ignored;
    acceptor.close(ignored);
    closed.notify_all();
  }

  net::Core& core;
  net::Acceptor acceptor;
  net::Signal closed{core};
  net::Signal loop_ended{core};
  Handler handler;
  bool is_closed = false;
  bool is_finishing = false;  // what was accepted before the close is still handed over
  bool loop_runs = false;
};

Listener::Listener(std::shared_ptr<State> state, Endpoint endpoint)
    : state_(std::move(state)), endpoint_(std::move(endpoint)) {}

Result<std::unique_ptr<Listener>> Listener::open(net::Core& core, const ListenOptions& options) {
  const auto wanted = resolve(core, options);
  if (!wanted) return std::unexpected(wanted.error());
  auto state = std::make_shared<State>(core);
  ErrorCode error = bind_and_listen(state->acceptor, *wanted, options);
  if (error) return std::unexpected(cannot_listen(options, error));
  const auto bound = state->acceptor.local_endpoint(error);
  if (error) return std::unexpected(cannot_listen(options, error));
  Endpoint endpoint;
  endpoint.host = bound.address().to_string();
  endpoint.port = bound.port();
  return std::unique_ptr<Listener>(new Listener(std::move(state), std::move(endpoint)));
}

Result<std::vector<std::unique_ptr<Listener>>> Listener::open_on_all(
    const std::vector<net::Core*>& cores, ListenOptions options) {
  std::vector<std::unique_ptr<Listener>> listeners;
  if (cores.size() > 1) {
    // SO_REUSEPORT would let us share a stranger's port; a plain listener first finds him out.
    options.reuse_port = false;
    auto probe = open(*cores.front(), options);
    if (!probe) return std::unexpected(probe.error());
    options.address = (*probe)->endpoint().to_string();
    options.reuse_port = true;
  }
  for (net::Core* core : cores) {
    auto listener = open(*core, options);
    if (!listener) return std::unexpected(listener.error());
    options.address = (*listener)->endpoint().to_string();
    listeners.push_back(std::move(*listener));
  }
  return listeners;
}

void Listener::start(Handler handler) {
  state_->handler = std::move(handler);
  state_->loop_runs = true;
  state_->core.spawn(accept_loop(state_), "listener");
}

net::Task<void> Listener::finish() {
  const auto state = state_;
  state->is_finishing = true;
  turn_away_new(state->acceptor.native_handle());
  state->take_waiting();
  // Handshakes that had begun end meanwhile: the loop takes them.
  co_await state->closed.wait_until(net::after(net::now(), kHandshakeMax));
  state->take_waiting();
  state->close();
  // The loop may have taken one that it was not told of yet.
  while (state->loop_runs) co_await state->loop_ended.wait();
}

void Listener::close() {
  state_->close();
}

net::Task<void> Listener::accept_loop(std::shared_ptr<State> state) {
  while (!state->is_closed) {
    net::Socket socket(state->core.executor());
    const auto [error] = co_await state->acceptor.async_accept(socket, net::tok);
    if (!error && (!state->is_closed || state->is_finishing)) {
      state->hand_over(std::move(socket));
    } else if (!state->is_closed && (error == net::asio::error::no_descriptors ||
                                     error == net::asio::error::no_buffer_space ||
                                     error == boost::system::errc::too_many_files_open_in_system)) {
      co_await state->closed.wait_until(net::after(net::now(), kFullPause));
    }
    // Anything else concerns one connection that went away before we took it.
  }
  state->loop_runs = false;
  state->loop_ended.notify_all();
}

}  // namespace hf::http
