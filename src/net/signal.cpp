#include "net/signal.hpp"

#include "net/clock.hpp"

namespace hf::net {

// A waiter lives in the frame of its coroutine and is linked while it waits, so that neither the
// destruction of the frame nor that of the Signal leaves a dangling pointer.
struct Signal::Waiter {
  Waiter(Signal& owner, Instant deadline)
      : signal(&owner), timer(owner.executor_, to_steady(deadline)), next(owner.first_) {
    if (next != nullptr) next->previous = this;
    owner.first_ = this;
  }
  ~Waiter() { unlink(); }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  void unlink() {
    if (signal == nullptr) return;
    if (previous != nullptr) {
      previous->next = next;
    } else {
      signal->first_ = next;
    }
    if (next != nullptr) next->previous = previous;
    signal = nullptr;
  }

  Signal* signal;
  Timer timer;
  Waiter* next;
  Waiter* previous = nullptr;
  bool is_notified = false;
};

Task<void> Signal::wait() {
  co_await wait_until(kNever);
}

Task<bool> Signal::wait_until(Instant deadline) {
  Waiter waiter(*this, deadline);
  // A notification between here and the start of the wait is impossible; one after the timer has
  // expired but before we run counts as a notification.
  co_await waiter.timer.async_wait(tok);
  co_return waiter.is_notified;
}

void Signal::notify_all() {
  while (first_ != nullptr) {
    Waiter& waiter = *first_;
    waiter.unlink();
    waiter.is_notified = true;
    waiter.timer.cancel();
  }
}

Task<void> sleep_until(Core& core, Instant at) {
  Timer timer(core.executor(), to_steady(at));
  co_await timer.async_wait(tok);
}

}  // namespace hf::net
