#include "http/server_connection.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <utility>

#include "net/clock.hpp"

namespace hf::http {
namespace {

using ErrorCode = boost::system::error_code;

constexpr int kKernelUnsentMax = 128 * 1024;
constexpr std::size_t kInputBytesMax = 64UL * 1024;
constexpr std::size_t kScratchBytes = 64UL * 1024;
constexpr std::size_t kKeptCapacity = 64UL * 1024;  // an empty out() above it gives its memory back
constexpr std::size_t kBodyReserveMax = 256UL * 1024;
constexpr std::size_t kBodyProgressBytes = 16UL * 1024;
constexpr std::size_t kLingerBytesMax = 32UL * 1024 * 1024;
constexpr Duration kLingerMax = std::chrono::seconds(1);
constexpr Duration kFlushMax = std::chrono::seconds(5);

ReadFailure failure(int status, Code code, std::string detail) {
  ReadFailure result;
  result.status = status;
  result.error.code = code;
  result.error.detail = std::move(detail);
  return result;
}

// Assigning an empty string would keep the memory.
void give_back(std::string& text) {
  std::string().swap(text);
}

bool is_would_block(const ErrorCode& error) {
  return error == net::asio::error::would_block || error == net::asio::error::try_again;
}

}  // namespace

struct ServerConnection::State : std::enable_shared_from_this<State> {
  State(net::Core& on, net::Socket from) : core(on), socket(std::move(from)) {}

  void mark_gone() {
    if (is_gone || is_closed) return;
    is_gone = true;
    call_on_gone();  // first: those who wake may end the connection
    changed.notify_all();
  }

  // Posted, so that the callback never runs inside a call of the connection's owner.
  void call_on_gone() {
    if (!on_gone) return;
    core.post([self = shared_from_this()] {
      if (self->is_gone && self->on_gone) std::exchange(self->on_gone, nullptr)();
    });
  }

  void close() {
    if (is_closed) return;
    is_closed = true;
    ErrorCode ignored;
    socket.close(ignored);
    drop_output();
    changed.notify_all();
    room.notify_all();
  }

  void drop_output() {
    give_back(out);
    sent = 0;
  }

  // Writes until the socket would block. False when it took nothing.
  bool write_some() {
    const std::size_t sent_before = sent;
    while (sent < out.size()) {
      ErrorCode error;
      sent += socket.write_some(net::asio::buffer(out.data() + sent, out.size() - sent), error);
      if (is_would_block(error)) break;
      if (error) {
        is_broken = true;
        drop_output();
        mark_gone();
        return true;
      }
    }
    const bool has_moved = sent != sent_before;
    compact();
    return has_moved;
  }

  void compact() {
    if (sent == out.size()) {
      sent = 0;
      if (out.capacity() > kKeptCapacity) {
        give_back(out);
      } else {
        out.clear();
      }
    } else if (sent >= out.size() - sent) {
      // Moves at most as many bytes as were sent since: constant work per byte.
      out.erase(0, sent);
      sent = 0;
      if (out.capacity() > kKeptCapacity && out.size() < out.capacity() / 4) out.shrink_to_fit();
    }
  }

  std::size_t unsent() const { return out.size() - sent; }

  net::Core& core;
  net::Socket socket;
  net::Signal changed{core};
  net::Signal room{core};  // tells the reader that `in` was emptied
  std::function<void()> on_gone;

  std::string in;
  std::size_t in_max = kInputBytesMax;
  std::size_t discarded = 0;
  bool is_discarding = false;
  bool has_ended = false;  // nothing more will come in
  std::string probe;       // tells a client that closed from one that only closed its half
  bool is_half_closed = false;

  std::string out;
  std::size_t sent = 0;  // of out
  Instant write_progress_at{};
  bool is_writer_running = false;
  bool is_broken = false;  // nothing more can go out

  bool is_gone = false;
  bool is_cut = false;
  bool is_closed = false;
};

ServerConnection::ServerConnection(net::Core& core, net::Socket socket)
    : state_(std::make_shared<State>(core, std::move(socket))) {
  ErrorCode ignored;
  state_->socket.non_blocking(true, ignored);
  state_->socket.set_option(net::Tcp::no_delay(true), ignored);
  // A client that does not read must show here, not in megabytes of kernel memory.
  const int unsent_max = kKernelUnsentMax;
  ::setsockopt(state_->socket.native_handle(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_max,
               sizeof unsent_max);
  core.spawn(read_loop(state_), "http reader");
}

ServerConnection::~ServerConnection() {
  state_->on_gone = nullptr;
  state_->close();
}

net::Task<void> ServerConnection::read_loop(std::shared_ptr<State> state) {
  static thread_local std::array<char, kScratchBytes> scratch;
  while (!state->is_closed) {
    if (!state->is_discarding && state->in.size() >= state->in_max) {
      co_await state->room.wait();
      continue;
    }
    // Waiting first, reading then: an idle connection holds no buffer.
    const auto [wait_error] = co_await state->socket.async_wait(net::Socket::wait_read, net::tok);
    if (state->is_closed) break;
    std::size_t room = scratch.size();
    if (!state->is_discarding) {
      if (state->in.size() >= state->in_max) continue;
      room = std::min(room, state->in_max - state->in.size());
    }
    ErrorCode error = wait_error;
    std::size_t size = 0;
    if (!error) size = state->socket.read_some(net::asio::buffer(scratch.data(), room), error);
    if (is_would_block(error)) continue;
    if (error) {
      state->has_ended = true;
      if (error == net::asio::error::eof) {
        half_closed(state);
        break;
      }
      state->is_broken = true;
      state->drop_output();
      state->mark_gone();
      break;
    }
    if (state->is_discarding) {
      state->discarded += size;
    } else {
      state->in.append(scratch.data(), size);
    }
    state->changed.notify_all();
  }
  state->has_ended = true;
  state->changed.notify_all();
}

// A closed socket and a half-closed one look the same until something is sent to them.
void ServerConnection::half_closed(const std::shared_ptr<State>& state) {
  state->is_half_closed = true;
  if (state->probe.empty()) {
    state->mark_gone();
    return;
  }
  state->is_gone = false;
  state->out += state->probe;
  flush(state);
  if (!state->is_broken) state->core.spawn(watch_for_reset(state), "http half-closed");
}

// At its end of stream a socket is always readable: only an error is news.
net::Task<void> ServerConnection::watch_for_reset(std::shared_ptr<State> state) {
  co_await state->socket.async_wait(net::Socket::wait_error, net::tok);
  if (state->is_closed) co_return;
  state->is_broken = true;
  state->drop_output();
  state->mark_gone();
}

void ServerConnection::set_probe(std::string bytes) {
  state_->probe = std::move(bytes);
  // It ended its side along with the request, when nobody had said yet what to ask it.
  if (!state_->probe.empty() && state_->is_half_closed && state_->is_gone && !state_->is_broken &&
      !state_->is_closed) {
    half_closed(state_);
  }
}

namespace {

// Erases what was read and lets the reader go on.
template <class State>
void consume(State& state, std::size_t size) {
  state.in.erase(0, size);
  if (state.in.empty() && state.in.capacity() > kKeptCapacity) give_back(state.in);
  state.room.notify_all();
}

template <class State>
net::Task<std::expected<wire::RequestHead, ReadFailure>> read_head(std::shared_ptr<State> state,
                                                                   ReadLimits limits) {
  const Instant idle_until = net::after(net::now(), limits.idle_max);
  while (state->in.empty()) {
    if (state->has_ended || state->is_closed) {
      co_return std::unexpected(failure(0, Code::kClosed, "the client closed the connection"));
    }
    if (!co_await state->changed.wait_until(idle_until) && state->in.empty()) {
      co_return std::unexpected(failure(0, Code::kClosed, "no request for too long"));
    }
  }
  const Instant head_until = net::after(net::now(), limits.head_max);
  std::size_t looked_at = 0;
  while (true) {
    // Only a new line can end a head or break its rules: a byte at a time costs no parse a byte.
    if (state->in.find('\n', looked_at) != std::string::npos ||
        state->in.size() > limits.head_bytes_max) {
      auto parsed = wire::parse_request_head(state->in, limits.head_bytes_max);
      if (!parsed) {
        const int status = parsed.error().code == Code::kTooLarge ? 431 : 400;
        co_return std::unexpected(
            failure(status, parsed.error().code, std::move(parsed.error().detail)));
      }
      if (parsed->has_value()) {
        consume(*state, (*parsed)->size);
        co_return std::move((*parsed)->head);
      }
    }
    looked_at = state->in.size();
    if (state->has_ended || state->is_closed) {
      co_return std::unexpected(
          failure(0, Code::kReset, "the connection ended in the middle of a request head"));
    }
    if (!co_await state->changed.wait_until(head_until) && state->in.size() == looked_at) {
      co_return std::unexpected(
          failure(408, Code::kTimeout, "the request head did not arrive in time"));
    }
  }
}

struct Body {
  std::string bytes;
  HeldBytes held;
};

template <class State>
net::Task<std::expected<Body, ReadFailure>> read_body(std::shared_ptr<State> state,
                                                      const wire::RequestHead& head,
                                                      ReadLimits limits) {
  const std::string too_large =
      "the request body is larger than " + std::to_string(limits.body_bytes_max) + " bytes";
  Body result;
  result.held = HeldBytes(limits.budget);
  auto& body = result.bytes;
  BodyDecoder decoder(head);
  std::size_t progress = 0;
  Instant progress_until = net::after(net::now(), limits.body_progress_max);
  if (const auto length = decoder.bytes_left()) {
    if (*length > limits.body_bytes_max) {
      co_return std::unexpected(failure(413, Code::kTooLarge, too_large));
    }
    body.reserve(std::min(static_cast<std::size_t>(*length), kBodyReserveMax));
  }
  while (true) {
    auto used = decoder.decode(state->in, body);
    if (!used) {
      const int status = used.error().code == Code::kTooLarge ? 413 : 400;
      co_return std::unexpected(failure(status, used.error().code, std::move(used.error().detail)));
    }
    if (body.size() > limits.body_bytes_max) {
      co_return std::unexpected(failure(413, Code::kTooLarge, too_large));
    }
    consume(*state, *used);
    if (!result.held.try_set(static_cast<std::int64_t>(body.capacity()))) {
      co_return std::unexpected(
          failure(503, Code::kUnavailable, "the requests in progress hold all the memory allowed"));
    }
    if (decoder.done()) co_return result;
    if (state->has_ended || state->is_closed) {
      co_return std::unexpected(
          failure(0, Code::kReset, "the connection ended in the middle of a request body"));
    }
    // A byte now and then is no progress: it would hold the rest for hours.
    progress += *used;
    if (progress >= kBodyProgressBytes) {
      progress = 0;
      progress_until = net::after(net::now(), limits.body_progress_max);
    }
    bool in_time = net::now() < progress_until;
    while (in_time && state->in.empty() && !state->has_ended && !state->is_closed) {
      in_time = co_await state->changed.wait_until(progress_until);
    }
    if (!in_time && state->in.empty()) {
      co_return std::unexpected(
          failure(408, Code::kTimeout, "the request body made no progress for too long"));
    }
  }
}

}  // namespace

net::Task<std::expected<Request, ReadFailure>> ServerConnection::read_request(ReadLimits limits) {
  return read(state_, limits);
}

net::Task<std::expected<Request, ReadFailure>> ServerConnection::read(std::shared_ptr<State> state,
                                                                      ReadLimits limits) {
  state->in_max = limits.head_bytes_max + 1;
  state->room.notify_all();
  auto head = co_await read_head(state, limits);
  state->in_max = kInputBytesMax;
  if (!head) co_return std::unexpected(std::move(head.error()));
  const bool is_waited_for = head->expects_continue && head->has_body() && state->in.empty() &&
                             head->content_length.value_or(0) <= limits.body_bytes_max;
  if (is_waited_for && !state->is_closed && !state->is_broken) {
    state->out.append("HTTP/1.1 100 Continue\r\n\r\n");
    flush(state);
  }
  auto body = co_await read_body(state, *head, limits);
  if (!body) co_return std::unexpected(std::move(body.error()));
  Request request;
  request.path = std::string(head->path());
  request.query = std::string(head->query());
  request.method = std::move(head->method);
  request.target = std::move(head->target);
  request.headers = std::move(head->headers);
  request.body = std::move(body->bytes);
  request.held = std::move(body->held);
  request.version_minor = head->version_minor;
  request.keep_alive = head->keep_alive;
  co_return request;
}

std::string& ServerConnection::out() {
  return state_->out;
}

void ServerConnection::flush_now() {
  flush(state_);
}

void ServerConnection::flush(const std::shared_ptr<State>& state) {
  if (state->is_closed || state->is_broken) {
    state->drop_output();
    return;
  }
  if (state->is_writer_running) return;
  state->write_some();
  if (state->unsent() == 0) return;
  state->write_progress_at = net::now();
  state->is_writer_running = true;
  state->core.spawn(write_loop(state), "http writer");
}

net::Task<void> ServerConnection::write_loop(std::shared_ptr<State> state) {
  while (!state->is_closed && !state->is_broken && state->unsent() > 0) {
    // Waiting for room instead of an asynchronous write: out() may grow and move meanwhile.
    const auto [error] = co_await state->socket.async_wait(net::Socket::wait_write, net::tok);
    if (state->is_closed || error == net::asio::error::operation_aborted) break;
    if (state->write_some()) {
      state->write_progress_at = net::now();
      state->changed.notify_all();
    }
  }
  state->is_writer_running = false;
  state->changed.notify_all();
}

std::size_t ServerConnection::unsent() const {
  return state_->unsent();
}

bool ServerConnection::has_input() const {
  if (!state_->in.empty()) return true;
  ErrorCode error;
  return state_->socket.available(error) > 0 && !error;
}

net::Task<bool> ServerConnection::drained(std::size_t bytes, Instant deadline) {
  return drain(state_, bytes, deadline);
}

net::Task<bool> ServerConnection::drain(std::shared_ptr<State> state, std::size_t bytes,
                                        Instant deadline) {
  while (true) {
    if (state->is_closed || state->is_broken) co_return false;
    if (state->unsent() <= bytes) co_return true;
    if (state->is_gone && !state->is_half_closed) co_return false;
    if (!co_await state->changed.wait_until(deadline)) {
      co_return !state->is_closed && !state->is_broken && state->unsent() <= bytes;
    }
  }
}

std::optional<Instant> ServerConnection::stuck_since() const {
  if (!state_->is_writer_running || state_->unsent() == 0) return std::nullopt;
  return state_->write_progress_at;
}

bool ServerConnection::gone() const {
  return state_->is_gone || state_->is_closed;
}

bool ServerConnection::was_cut() const {
  return state_->is_cut;
}

void ServerConnection::on_gone(std::function<void()> fn) {
  if (state_->is_closed) return;
  state_->on_gone = std::move(fn);
  if (state_->is_gone) state_->call_on_gone();
}

net::Signal& ServerConnection::changed() {
  return state_->changed;
}

net::Task<void> ServerConnection::close_gracefully(Instant flush_deadline) {
  return end(state_, flush_deadline);
}

net::Task<void> ServerConnection::close_gracefully() {
  return end(state_, net::after(net::now(), kFlushMax));
}

net::Task<void> ServerConnection::end(std::shared_ptr<State> state, Instant flush_deadline) {
  state->probe.clear();
  flush(state);
  if (co_await drain(state, 0, flush_deadline)) {
    ErrorCode error;
    state->socket.shutdown(net::Socket::shutdown_send, error);
    state->is_discarding = true;
    give_back(state->in);
    state->room.notify_all();
    const Instant until = net::after(net::now(), kLingerMax);
    bool in_time = !error;
    while (in_time && !state->has_ended && !state->is_closed &&
           state->discarded <= kLingerBytesMax) {
      in_time = co_await state->changed.wait_until(until);
    }
  }
  state->close();
}

void ServerConnection::abort() {
  state_->on_gone = nullptr;
  state_->close();
}

void ServerConnection::cut() {
  state_->mark_gone();
  state_->is_cut = true;
  auto told = std::exchange(state_->on_gone, nullptr);  // reset() would forget it
  reset();
  state_->on_gone = std::move(told);
}

void ServerConnection::reset() {
  state_->on_gone = nullptr;
  ErrorCode ignored;
  if (!state_->is_closed) {
    state_->socket.set_option(net::asio::socket_base::linger(true, 0), ignored);
  }
  state_->close();
}

net::Core& ServerConnection::core() {
  return state_->core;
}

}  // namespace hf::http
