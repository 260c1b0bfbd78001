#include "chaos/link.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <tuple>

#include "net/clock.hpp"

namespace hf::chaos {
namespace {

constexpr std::size_t kPart = 16'384;

}  // namespace

struct Link::Pair {
  Pair(net::Core& core, net::Socket from) : client(std::move(from)), engine(core.io()) {}

  void close() {
    boost::system::error_code ignored;
    std::ignore = client.close(ignored);
    std::ignore = engine.close(ignored);
    is_open = false;
  }
  void reset() {
    boost::system::error_code ignored;
    const net::asio::socket_base::linger at_once(true, 0);
    std::ignore = client.set_option(at_once, ignored);
    std::ignore = engine.set_option(at_once, ignored);
    close();
  }

  net::Socket client;
  net::Socket engine;
  bool is_open = true;
  std::int64_t passed_down = 0;  // since the fault in force was set
};

struct Link::State {
  State(net::Core& on, http::Endpoint target) : core(on), to(std::move(target)), changed(on) {}

  net::Core& core;
  http::Endpoint to;
  std::unique_ptr<http::Listener> listener;
  LinkFault fault;
  LinkCounters counters;
  net::Signal changed;
  std::vector<std::weak_ptr<Pair>> pairs;
  std::size_t running = 0;
  bool is_stopped = false;
};

Result<std::unique_ptr<Link>> Link::open(net::Core& core, http::Endpoint to) {
  auto state = std::make_shared<State>(core, std::move(to));
  auto listener = http::Listener::open(core, {.address = "127.0.0.1:0", .flag = "a link"});
  if (!listener) return std::unexpected(listener.error());
  state->listener = std::move(*listener);
  // The handler must not own the state, which owns the listener.
  const std::weak_ptr<State> weak = state;
  state->listener->start(
      [weak](net::Socket socket) { return serve(weak.lock(), std::move(socket)); });
  return std::unique_ptr<Link>(new Link(std::move(state)));
}

Link::~Link() = default;

http::Endpoint Link::endpoint() const {
  return state_->listener->endpoint();
}

const LinkCounters& Link::counters() const {
  return state_->counters;
}

void Link::set(const LinkFault& fault) {
  state_->fault = fault;
  for (const auto& weak : state_->pairs) {
    if (const auto pair = weak.lock()) pair->passed_down = 0;
  }
  state_->changed.notify_all();
}

net::Task<void> Link::stop() {
  state_->is_stopped = true;
  state_->listener->close();
  for (const auto& weak : state_->pairs) {
    if (const auto pair = weak.lock()) pair->close();
  }
  state_->changed.notify_all();
  while (state_->running > 0) co_await state_->changed.wait();
}

net::Task<void> Link::serve(std::shared_ptr<State> state, net::Socket socket) {
  if (!state || state->is_stopped) co_return;
  ++state->running;
  auto pair = std::make_shared<Pair>(state->core, std::move(socket));
  std::erase_if(state->pairs, [](const auto& weak) { return weak.expired(); });
  state->pairs.push_back(pair);
  ++state->counters.connections;
  ++state->counters.open;
  boost::system::error_code ignored;
  const net::Tcp::endpoint to(net::asio::ip::make_address(state->to.host, ignored), state->to.port);
  const auto [error] = co_await pair->engine.async_connect(to, net::tok);
  if (error) {
    pair->reset();  // as near to "refused" as a proxy can come
  } else {
    std::ignore = pair->engine.set_option(net::Tcp::no_delay(true), ignored);
    ++state->running;
    state->core.spawn(pump(state, pair, false), "link up");
    co_await pump(state, pair, true);
  }
  --state->counters.open;
  --state->running;
  state->changed.notify_all();
}

// Moves bytes one way. An end of stream ends that way only, as the peers would see it without us.
net::Task<void> Link::pump(std::shared_ptr<State> state, std::shared_ptr<Pair> pair, bool down) {
  auto& from = down ? pair->engine : pair->client;
  auto& to = down ? pair->client : pair->engine;
  std::array<char, kPart> part;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  while (pair->is_open) {
    const auto buffer = net::asio::buffer(part);
    const auto [error, count] = co_await from.async_read_some(buffer, net::tok);
    if (count > 0) {
      std::string bytes(part.data(), count);
      const bool is_passed = co_await pass(state, pair, down, std::move(bytes));
      if (!is_passed) break;
    }
    if (!error) continue;
    // A dead engine's reset must not overtake a stall: who is cut off hears nothing.
    while (state->fault.is_stalled && pair->is_open) co_await state->changed.wait();
    boost::system::error_code ignored;
    if (error == net::asio::error::eof) {
      std::ignore = to.shutdown(net::Tcp::socket::shutdown_send, ignored);
    } else if (pair->is_open) {
      pair->reset();
    }
    break;
  }
  if (down && pair->is_open) pair->close();
  if (!down) {
    --state->running;
    state->changed.notify_all();
  }
}

net::Task<bool> Link::pass(std::shared_ptr<State> state, std::shared_ptr<Pair> pair, bool down,
                           std::string bytes) {
  const auto& fault = state->fault;
  if (fault.is_stalled) ++state->counters.held;
  while (fault.is_stalled && pair->is_open) co_await state->changed.wait();
  if (fault.delay > Duration::zero()) {
    ++state->counters.held;
    co_await net::sleep_until(state->core, net::now() + fault.delay);
  }
  bool is_last = false;
  if (down && fault.end_after_bytes >= 0) {
    const auto left = std::max<std::int64_t>(fault.end_after_bytes - pair->passed_down, 0);
    is_last = static_cast<std::int64_t>(bytes.size()) >= left;
    if (is_last) bytes.resize(static_cast<std::size_t>(left));
  }
  if (!pair->is_open) co_return false;
  const auto buffer = net::asio::buffer(bytes);
  auto& to = down ? pair->client : pair->engine;
  const auto [error, sent] = co_await net::asio::async_write(to, buffer, net::tok);
  (down ? state->counters.bytes_down : state->counters.bytes_up) += sent;
  if (down) pair->passed_down += static_cast<std::int64_t>(sent);
  if (error) co_return false;
  if (is_last) {
    ++state->counters.ended;
    if (fault.is_reset) {
      pair->reset();
    } else {
      pair->close();
    }
    co_return false;
  }
  if (down && fault.bytes_per_s > 0) {
    ++state->counters.held;
    const auto pause = std::chrono::nanoseconds(
        std::int64_t(1'000'000'000) * static_cast<std::int64_t>(sent) / fault.bytes_per_s);
    co_await net::sleep_until(state->core, net::now() + pause);
  }
  co_return true;
}

}  // namespace hf::chaos
