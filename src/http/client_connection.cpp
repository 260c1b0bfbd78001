#include "http/client_connection.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <utility>
#include <vector>

#include "net/clock.hpp"
#include "net/errors.hpp"

namespace hf::http {
namespace {

using ErrorCode = boost::system::error_code;

constexpr std::size_t kReadBytesMax = 16 * 1024;

ErrorCode connect_result(net::Socket& socket) {
  int number = 0;
  socklen_t size = sizeof number;
  ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &number, &size);
  return {number, boost::system::system_category()};
}

// Near by, the handshake is over before connect() returns: then no turn of the loop is spent on it.
ErrorCode start_connect(net::Socket& socket, const net::Tcp::endpoint& target) {
  ErrorCode error;
  socket.open(target.protocol(), error);
  if (!error) socket.non_blocking(true, error);
  if (error) return error;
  const int handle = socket.native_handle();
  if (::connect(handle, target.data(), static_cast<socklen_t>(target.size())) == 0) return {};
  if (errno != EINPROGRESS) return {errno, boost::system::system_category()};
  pollfd ready{handle, POLLOUT, 0};
  if (::poll(&ready, 1, 0) == 0) return net::asio::error::in_progress;
  return connect_result(socket);
}

}  // namespace

struct ClientConnection::State : std::enable_shared_from_this<State> {
  State(net::Core& core, Endpoint peer)
      : endpoint(std::move(peer)),
        socket(core.executor()),
        resolver(core.executor()),
        read_limit(core),
        write_limit(core) {}

  // The deadline of one direction. Its timer only cancels; who was cancelled by the other
  // direction's deadline sees neither is_passed nor is_closed, and starts again.
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
        ErrorCode ignored;
        state->resolver.cancel();
        state->socket.cancel(ignored);
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

  Error error_of(const ErrorCode& error, const Limit& limit, std::string_view operation) const {
    std::string what = std::string(operation) + " " + endpoint.to_string();
    if (is_closed) return net::to_error(net::asio::error::operation_aborted, what);
    if (limit.is_passed) return net::to_error(net::asio::error::timed_out, what);
    return net::to_error(error, what);
  }

  // Cancelled by the other direction's deadline: no reason to give up.
  bool is_disturbed(const ErrorCode& error, const Limit& limit) const {
    return error == net::asio::error::operation_aborted && !is_closed && !limit.is_passed;
  }

  void close() {
    is_closed = true;
    ErrorCode ignored;
    resolver.cancel();
    socket.close(ignored);
    read_limit.clear();
    write_limit.clear();
  }

  Endpoint endpoint;
  net::Socket socket;
  net::Resolver resolver;
  Limit read_limit;
  Limit write_limit;
  std::unique_ptr<char[]> buffer;  // of reads; made by the first one
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
  ErrorCode ignored;
  if (state_->socket.is_open()) {
    state_->socket.set_option(net::asio::socket_base::linger(true, 0), ignored);
  }
  state_->close();
}

bool ClientConnection::is_open() const {
  return state_ && !state_->is_closed && state_->socket.is_open();
}

bool ClientConnection::is_idle_alive() const {
  if (!is_open()) return false;
  char byte = 0;
  const ssize_t got =
      ::recv(state_->socket.native_handle(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
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
  state->read_limit.set(state, deadline);
  if (!error) {
    const auto literal = net::asio::ip::make_address(state->endpoint.host, error);
    if (!error) {
      targets.emplace_back(literal, state->endpoint.port);
    } else {
      const std::string service = std::to_string(state->endpoint.port);
      auto [resolve_error, found] =
          co_await state->resolver.async_resolve(state->endpoint.host, service, net::tok);
      error = resolve_error;
      for (const auto& entry : found) targets.push_back(entry.endpoint());
    }
  }
  for (const auto& target : targets) {
    if (state->is_closed || state->read_limit.is_passed) break;
    ErrorCode ignored;
    state->socket.close(ignored);
    error = start_connect(state->socket, target);
    if (error == net::asio::error::in_progress) {
      const auto [wait_error] =
          co_await state->socket.async_wait(net::Socket::wait_write, net::tok);
      error = wait_error ? wait_error : connect_result(state->socket);
    }
    if (!error) break;
  }
  if (state->is_closed || state->read_limit.is_passed || error) {
    auto failed = state->error_of(error, state->read_limit, "connect to");
    state->close();
    co_return std::unexpected(std::move(failed));
  }
  state->read_limit.clear();
  ErrorCode ignored;
  state->socket.set_option(net::Tcp::no_delay(true), ignored);
  co_return Result<void>{};
}

net::Task<Result<void>> ClientConnection::write(std::string head, std::string_view body,
                                                Instant deadline) {
  return do_write(state_, std::move(head), body, deadline);
}

net::Task<Result<void>> ClientConnection::do_write(std::shared_ptr<State> state, std::string head,
                                                   std::string_view body, Instant deadline) {
  state->write_limit.set(state, deadline);
  std::string_view first = head;
  while (!first.empty() || !body.empty()) {
    const std::array<net::asio::const_buffer, 2> buffers = {
        net::asio::buffer(first.data(), first.size()), net::asio::buffer(body.data(), body.size())};
    const auto [error, size] = co_await state->socket.async_write_some(buffers, net::tok);
    const bool is_cancelled = state->is_closed || state->write_limit.is_passed;
    if (is_cancelled || (error && !state->is_disturbed(error, state->write_limit))) {
      co_return std::unexpected(state->error_of(error, state->write_limit, "send to"));
    }
    const std::size_t of_first = std::min(size, first.size());
    first.remove_prefix(of_first);
    body.remove_prefix(size - of_first);
  }
  if (deadline != kNever) state->write_limit.clear();
  co_return Result<void>{};
}

net::Task<Result<std::size_t>> ClientConnection::read_some(std::string& into, std::size_t bytes_max,
                                                           Instant deadline) {
  return do_read(state_, into, bytes_max, deadline);
}

net::Task<Result<std::size_t>> ClientConnection::do_read(std::shared_ptr<State> state,
                                                         std::string& into, std::size_t bytes_max,
                                                         Instant deadline) {
  if (!state->buffer) state->buffer = std::make_unique_for_overwrite<char[]>(kReadBytesMax);
  const std::size_t room = std::min(bytes_max, kReadBytesMax);
  state->read_limit.set(state, deadline);
  while (true) {
    const auto [error, size] = co_await state->socket.async_read_some(
        net::asio::buffer(state->buffer.get(), room), net::tok);
    if (state->is_closed) {
      co_return std::unexpected(state->error_of(error, state->read_limit, "read from"));
    }
    if (!error) {
      if (deadline != kNever) state->read_limit.clear();
      into.append(state->buffer.get(), size);
      co_return size;
    }
    if (!state->is_disturbed(error, state->read_limit)) {
      auto failed = state->error_of(error, state->read_limit, "read from");
      if (deadline != kNever) state->read_limit.clear();
      co_return std::unexpected(std::move(failed));
    }
  }
}

}  // namespace hf::http
