#include "net/poller.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "base/assert.hpp"
#include "net/core.hpp"

namespace hf::net {
namespace {

constexpr std::array<std::uint32_t, 2> kEvents = {EPOLLIN, EPOLLOUT};
constexpr std::uint32_t kEnded = EPOLLHUP | EPOLLERR;  // told whether asked for or not
constexpr auto kBurialAfter = std::chrono::milliseconds(5);
constexpr std::size_t kBuriedMax = 256;

}  // namespace

Poller::Poller(Io& io) : io_(io), fd_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (fd_ < 0) throw std::system_error(errno, std::system_category(), "epoll_create1");
}

Poller::~Poller() {
  close_buried();
  if (!set_) ::close(fd_);
}

void Poller::drop_waiters() {
  for (Watch* watch = first_; watch != nullptr; watch = watch->next_) {
    for (auto& waiter : watch->waiters_) waiter.reset();
  }
  burial_.reset();
  if (set_) fd_ = set_->release();
  set_.reset();
}

void Poller::link(Watch& watch) {
  if (!set_) {
    set_.emplace(io_, fd_);
    burial_.emplace(io_);
    arm();
  }
  watch.next_ = first_;
  if (first_ != nullptr) first_->previous_ = &watch;
  first_ = &watch;
}

void Poller::unlink(Watch& watch) {
  if (watch.previous_ != nullptr) {
    watch.previous_->next_ = watch.next_;
  } else {
    first_ = watch.next_;
  }
  if (watch.next_ != nullptr) watch.next_->previous_ = watch.previous_;
  watch.next_ = watch.previous_ = nullptr;
  for (int i = 0; i < batch_size_; ++i) {
    auto& event = batch_[static_cast<std::size_t>(i)];
    if (event.data.ptr == &watch) event.data.ptr = nullptr;
  }
}

void Poller::control(Watch& watch, std::uint32_t before, std::uint32_t wanted) const {
  epoll_event event{};
  event.events = wanted;
  event.data.ptr = &watch;
  const int how = before == 0 ? EPOLL_CTL_ADD : wanted == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
  const int done = ::epoll_ctl(fd_, how, watch.fd_, &event);
  HF_ASSERT(done == 0);
}

void Poller::arm() {
  set_->async_wait(asio::posix::descriptor_base::wait_read,
                   [this](const boost::system::error_code& error) {
                     if (error) return;
                     turn();
                     arm();
                   });
}

// More may come while the first are served; the rest of the core's work has its turn too.
void Poller::turn() {
  for (int round = 0; round < kRoundsMax; ++round) {
    batch_size_ = std::max(0, ::epoll_wait(fd_, batch_.data(), kBatch, 0));
    if (batch_size_ == 0) break;
    for (int i = 0; i < batch_size_; ++i) {
      const auto event = batch_[static_cast<std::size_t>(i)];
      if (event.data.ptr != nullptr) static_cast<Watch*>(event.data.ptr)->ready(event.events);
    }
  }
  batch_size_ = 0;
}

void Poller::bury(int fd) {
  if (!burial_ || buried_.size() >= kBuriedMax) {
    ::close(fd);
    return;
  }
  buried_.push_back(fd);
  if (buried_.size() > 1) return;
  burial_->expires_after(kBurialAfter);
  burial_->async_wait([this](const boost::system::error_code& error) {
    if (!error) close_buried();
  });
}

void Poller::close_buried() {
  for (const int fd : std::exchange(buried_, {})) ::close(fd);
}

Watch::Watch(Core& core) : core_(core) {}

Watch::~Watch() {
  close();
}

void Watch::open(int fd) {
  HF_ASSERT(fd_ < 0 && fd >= 0);
  fd_ = fd;
  core_.poller().link(*this);
}

Task<void> Watch::wait(std::size_t direction) {
  static constexpr asio::use_awaitable_t<Executor> kToken{};
  return asio::async_initiate<const asio::use_awaitable_t<Executor>, void()>(
      [this, direction](Handler handler) { park(direction, std::move(handler)); }, kToken);
}

void Watch::park(std::size_t direction, Handler handler) {
  HF_ASSERT(!waiters_[direction]);
  waiters_[direction].emplace(std::move(handler));
  if (fd_ < 0) {
    wake(direction);
  } else {
    want(events_ | kEvents[direction]);
  }
}

void Watch::wake(std::size_t direction) {
  if (!waiters_[direction]) return;
  asio::post(core_.executor(),
             [handler = std::move(*waiters_[direction])]() mutable { std::move(handler)(); });
  waiters_[direction].reset();
}

void Watch::want(std::uint32_t events) {
  if (events == events_) return;
  core_.poller().control(*this, std::exchange(events_, events), events);
}

// Reading stays asked for from one event to the next. It is taken back when nobody waits (a slow
// client's engine), else the set would be ready without end.
void Watch::ready(std::uint32_t events) {
  std::array<std::optional<Handler>, 2> woken;
  for (std::size_t i = 0; i < 2; ++i) {
    if (!waiters_[i] || (events & (kEvents[i] | kEnded)) == 0) continue;
    woken[i].emplace(std::move(*waiters_[i]));
    waiters_[i].reset();
  }
  if (!woken[0] && !woken[1]) {
    want(waiters_[0] ? kEvents[0] : waiters_[1] ? kEvents[1] : 0);
    return;
  }
  if (woken[1]) want(events_ & ~kEvents[1]);
  for (auto& handler : woken) {
    if (handler) std::move (*handler)();  // may destroy this
  }
}

int Watch::release() {
  if (fd_ < 0) return -1;
  core_.poller().unlink(*this);
  events_ = 0;
  return std::exchange(fd_, -1);
}

void Watch::close() {
  if (const int fd = release(); fd >= 0) ::close(fd);
  for (std::size_t i = 0; i < 2; ++i) wake(i);
}

void Watch::close_later() {
  const bool is_watched = events_ != 0;
  if (is_watched) want(0);
  if (const int fd = release(); fd >= 0) core_.poller().bury(fd);
  for (std::size_t i = 0; i < 2; ++i) wake(i);
}

}  // namespace hf::net
