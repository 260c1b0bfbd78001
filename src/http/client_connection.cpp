#include "http/client_connection.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <utility>
#include <vector>

#include "net/clock.hpp"
#include "net/errors.hpp"
#include "net/poller.hpp"

namespace hf::http {
namespace {

using ErrorCode = boost::system::error_code;

constexpr std::size_t kReadBytesMax = 16UL * 1024;

ErrorCode last_error() {
  return {errno, boost::system::system_category()};
}

bool would_block(const ErrorCode& error) {
  return error == net::asio::error::would_block || error == net::asio::error::try_again;
}

ErrorCode connect_result(int fd) {
  int number = 0;
  socklen_t size = sizeof number;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &number, &size);
  return {number, boost::system::system_category()};
}

// Near by, the handshake is over before connect() returns: then no turn of the loop is spent on it.
ErrorCode start_connect(net::Watch& watch, const net::Tcp::endpoint& target) {
  const int fd =
      ::socket(target.protocol().family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return last_error();
  watch.open(fd);
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd, target.data(), static_cast<socklen_t>(target.size())) == 0) return {};
  if (errno != EINPROGRESS) return last_error();
  pollfd ready{fd, POLLOUT, 0};
  if (::poll(&ready, 1, 0) == 0) return net::asio::error::in_progress;
  return connect_result(fd);
}

}  // namespace

struct ClientConnection::State : std::enable_shared_from_this<State> {
  State(net::Core& core, Endpoint peer)
      : endpoint(std::move(peer)),
        watch(core),
        resolver(core.executor()),
        read_limit(core),
        write_limit(core) {}

  // The deadline of one direction: when it passes, who waits there goes on.
  struct Limit {
    explicit Limit(net::Core& core) : timer(core.executor()) {}
    void set(const std::shared_ptr<State>& state, Instant deadline) {
      is_passed = false;
      if (deadline == kNever) return;
      ++generation;
      timer.expires_at(net::to_steady(deadline));
      timer.async_wait([state, this, armed = generation](const ErrorCode& error) {
        if (error || armed != generation) return;
        is_passed = true;
        state->wake(*this);
      });
    }
    void clear() {
      ++generation;
      timer.cancel();
    }
    net::Timer timer;
    std::uint64_t generation = 0;
    bool is_passed = false;
  };

  // Connecting waits for room to write under the limit of reading.
  void wake(const Limit& limit) {
    if (!is_connected) {
      resolver.cancel();
      watch.wake_writer();
    } else if (&limit == &read_limit) {
      watch.wake_reader();
    } else {
      watch.wake_writer();
    }
  }

  Error error_of(const ErrorCode& error, const Limit& limit, std::string_view operation) const {
    std::string what = std::string(operation) + " " + endpoint.to_string();
    if (is_closed) return net::to_error(net::asio::error::operation_aborted, what);
    if (limit.is_passed) return net::to_error(net::asio::error::timed_out, what);
    return net::to_error(error, what);
  }

  void close() {
    if (std::exchange(is_closed, true)) return;
    resolver.cancel();
    if (has_ended) {
      watch.close_later();
    } else {
      watch.close();
    }
    read_limit.clear();
    write_limit.clear();
  }

  Endpoint endpoint;
  net::Watch watch;
  net::Resolver resolver;
  Limit read_limit;
  Limit write_limit;
  bool is_connected = false;
  bool is_filled = false;  // the last read took all it had room for: there may be more
  bool has_ended = false;  // the peer did: nobody waits for our end
  bool is_closed = false;
};

ClientConnection::ClientConnection(net::Core& core, Endpoint endpoint)
    : state_(std::make_shared<State>(core, std::move(endpoint))) {}

ClientConnection::~ClientConnection() {
  close();
}

ClientConnection::ClientConnection(ClientConnection&&) noexcept = default;

ClientConnection& ClientConnection::operator=(ClientConnection&& other) noexcept {
  if (this != &other) {
    close();
    state_ = std::move(other.state_);
  }
  return *this;
}

void ClientConnection::close() {
  if (state_) state_->close();
}

void ClientConnection::reset() {
  if (!state_) return;
  if (state_->watch.is_open()) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(state_->watch.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  state_->close();
}

bool ClientConnection::is_open() const {
  return state_ && !state_->is_closed && state_->watch.is_open();
}

bool ClientConnection::is_idle_alive() const {
  if (!is_open()) return false;
  char byte = 0;
  const ssize_t got = ::recv(state_->watch.fd(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && would_block(last_error());
}

const Endpoint& ClientConnection::endpoint() const {
  return state_->endpoint;
}

net::Task<Result<void>> ClientConnection::connect(Instant deadline) {
  return do_connect(state_, deadline);
}

net::Task<Result<void>> ClientConnection::do_connect(std::shared_ptr<State> state,
                                                     Instant deadline) {
  std::vector<net::Tcp::endpoint> targets;
  ErrorCode error;
  if (state->is_closed) error = net::asio::error::operation_aborted;
  bool is_limited = false;  // only what waits needs a timer
  if (!error) {
    const auto literal = net::asio::ip::make_address(state->endpoint.host, error);
    if (!error) {
      targets.emplace_back(literal, state->endpoint.port);
    } else {
      state->read_limit.set(state, deadline);
      is_limited = true;
      const std::string service = std::to_string(state->endpoint.port);
      auto [resolve_error, found] =
          co_await state->resolver.async_resolve(state->endpoint.host, service, net::tok);
      error = resolve_error;
      for (const auto& entry : found) targets.push_back(entry.endpoint());
    }
  }
  for (const auto& target : targets) {
    if (state->is_closed || state->read_limit.is_passed) break;
    state->watch.close();
    error = start_connect(state->watch, target);
    if (error == net::asio::error::in_progress) {
      if (!is_limited) state->read_limit.set(state, deadline);
      is_limited = true;
      co_await state->watch.writable();
      if (state->is_closed || state->read_limit.is_passed) break;
      error = connect_result(state->watch.fd());
    }
    if (!error) break;
  }
  if (state->is_closed || state->read_limit.is_passed || error) {
    auto failed = state->error_of(error, state->read_limit, "connect to");
    state->close();
    co_return std::unexpected(std::move(failed));
  }
  if (is_limited) state->read_limit.clear();
  state->is_connected = true;
  co_return Result<void>{};
}

net::Task<Result<void>> ClientConnection::write(std::string head, std::string_view body,
                                                Instant deadline) {
  return do_write(state_, std::move(head), body, deadline);
}

net::Task<Result<void>> ClientConnection::do_write(std::shared_ptr<State> state, std::string head,
                                                   std::string_view body, Instant deadline) {
  std::string_view first = head;
  bool is_limited = false;
  state->write_limit.is_passed = false;
  while (!first.empty() || !body.empty()) {
    if (state->is_closed || state->write_limit.is_passed) {
      co_return std::unexpected(state->error_of({}, state->write_limit, "send to"));
    }
    std::array<iovec, 2> parts = {{{const_cast<char*>(first.data()), first.size()},
                                   {const_cast<char*>(body.data()), body.size()}}};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t size = ::sendmsg(state->watch.fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size >= 0) {
      const std::size_t of_first = std::min(static_cast<std::size_t>(size), first.size());
      first.remove_prefix(of_first);
      body.remove_prefix(static_cast<std::size_t>(size) - of_first);
      continue;
    }
    const ErrorCode error = last_error();
    if (!would_block(error)) {
      state->has_ended = true;
      co_return std::unexpected(state->error_of(error, state->write_limit, "send to"));
    }
    if (!is_limited) state->write_limit.set(state, deadline);
    is_limited = true;
    co_await state->watch.writable();
  }
  if (is_limited) state->write_limit.clear();
  co_return Result<void>{};
}

net::Task<Result<std::size_t>> ClientConnection::read_some(std::string& into, std::size_t bytes_max,
                                                           Instant deadline) {
  return do_read(state_, into, bytes_max, deadline);
}

net::Task<Result<std::size_t>> ClientConnection::do_read(std::shared_ptr<State> state,
                                                         std::string& into, std::size_t bytes_max,
                                                         Instant deadline) {
  static thread_local std::array<char, kReadBytesMax> scratch;  // no connection holds a buffer
  const std::size_t room = std::min(bytes_max, scratch.size());
  state->read_limit.set(state, deadline);
  while (true) {
    if (!state->is_filled && !state->is_closed) co_await state->watch.readable();
    if (state->is_closed || state->read_limit.is_passed) {
      co_return std::unexpected(state->error_of({}, state->read_limit, "read from"));
    }
    const ssize_t size = ::recv(state->watch.fd(), scratch.data(), room, MSG_DONTWAIT);
    state->is_filled = size > 0 && static_cast<std::size_t>(size) == room;
    if (size > 0) {
      if (deadline != kNever) state->read_limit.clear();
      into.append(scratch.data(), static_cast<std::size_t>(size));
      co_return static_cast<std::size_t>(size);
    }
    const ErrorCode error = size == 0 ? ErrorCode(net::asio::error::eof) : last_error();
    if (would_block(error)) continue;
    state->has_ended = true;
    if (deadline != kNever) state->read_limit.clear();
    co_return std::unexpected(state->error_of(error, state->read_limit, "read from"));
  }
}

}  // namespace hf::http
