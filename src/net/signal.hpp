// Signal: "something changed" among the coroutines of one core.
//
// It has no memory: notify_all() wakes those who wait now. The pattern is always
//   while (!condition) co_await signal.wait();
// which cannot miss a wake-up, because nothing else runs between the test and the wait.
#pragma once

#include "base/time.hpp"
#include "net/core.hpp"
#include "net/types.hpp"

namespace hf::net {

/// Single-threaded. May be destroyed while coroutines wait on it: they wake as if notified and must
/// not touch it again.
class Signal {
 public:
  explicit Signal(Core& core) : executor_(core.executor()) {}
  ~Signal() { notify_all(); }
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  /// Waits for the next notify_all().
  Task<void> wait();
  /// Waits for the next notify_all(), at most until `deadline`. True = notified, false = too late.
  Task<bool> wait_until(Instant deadline);
  /// Wakes everyone who waits now; they run after the caller has given up the thread.
  void notify_all();
  bool has_waiters() const { return first_ != nullptr; }

 private:
  struct Waiter;
  Executor executor_;
  Waiter* first_ = nullptr;
};

/// Waits until `at`; an early return is not possible.
Task<void> sleep_until(Core& core, Instant at);

}  // namespace hf::net
