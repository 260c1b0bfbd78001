// Which of a core's many sockets can be read or written, asked of the kernel in one call.
//
// Asio's reactor is edge-triggered: after each read it reads again, to hear that there is nothing
// more. A relay has one small event a read, so that is every second system call, and a queued
// operation each. Here the sockets stand in a level-triggered epoll set of their own, and Asio
// waits for that set: one turn resumes everybody whose socket is ready (docs/adr/0012).
#pragma once

#include <array>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <cstdint>
#include <optional>
#include <sys/epoll.h>
#include <vector>

#include "net/types.hpp"

namespace hf::net {

class Core;
class Watch;

/// One a core, owned by it. Everything on the core's thread but construction and destruction.
class Poller {
 public:
  explicit Poller(Io& io);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

 private:
  friend class Core;
  friend class Watch;
  static constexpr int kBatch = 64;
  static constexpr int kRoundsMax = 16;

  /// The core ends: who still waits never goes on. Before the destruction of its io_context.
  void drop_waiters();
  void link(Watch& watch);
  void unlink(Watch& watch);
  void control(Watch& watch, std::uint32_t before, std::uint32_t wanted) const;
  void arm();
  void turn();
  void bury(int fd);
  void close_buried();

  Io& io_;
  int fd_ = -1;
  // Gone before io_ is; made by the first watch.
  std::optional<asio::posix::basic_stream_descriptor<Executor>> set_;
  std::optional<Timer> burial_;
  std::array<epoll_event, kBatch> batch_{};
  int batch_size_ = 0;
  Watch* first_ = nullptr;
  std::vector<int> buried_;
};

/// A non-blocking descriptor and who waits for it. Core thread only, but for the constructor. It
/// may be destroyed while somebody waits: he goes on, later.
class Watch {
 public:
  explicit Watch(Core& core);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Takes a non-blocking descriptor over. Precondition: !is_open().
  void open(int fd);
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  /// Until a read (write) would not block, or wake_…(), or close(): which, the caller finds out.
  /// One waiter each.
  Task<void> readable() { return wait(0); }
  Task<void> writable() { return wait(1); }
  /// Who waits goes on, later, never from within this call.
  void wake_reader() { wake(0); }
  void wake_writer() { wake(1); }

  /// Closes now.
  void close();
  /// Closes within 10 ms: when a worker dies, its streams go on first and its sockets go last.
  void close_later();

 private:
  friend class Poller;
  using Handler = asio::async_result<asio::use_awaitable_t<Executor>, void()>::handler_type;

  Task<void> wait(std::size_t direction);
  void park(std::size_t direction, Handler handler);
  void wake(std::size_t direction);
  void want(std::uint32_t events);
  void ready(std::uint32_t events);
  int release();

  Core& core_;
  int fd_ = -1;
  std::uint32_t events_ = 0;  // asked for; 0: not in the set
  std::array<std::optional<Handler>, 2> waiters_;
  Watch* next_ = nullptr;
  Watch* previous_ = nullptr;
};

}  // namespace hf::net
