// How many new requests may wait for a worker, over all cores, and when to come back.
//
// Relaxed atomics: the bound may be passed by one request a core for a moment, never by more.
// Priorities, deadlines and tenants will be decided here.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/time.hpp"

namespace hf::core {

class AdmissionQueue {
 public:
  /// A new request wants to wait; false: there is no room, it is to be shed.
  bool enter(std::size_t bytes, std::int64_t requests_max, std::int64_t bytes_max);
  /// One that was admitted before and lost its worker waits again: never refused.
  void enter_again(std::size_t bytes);
  void leave(std::size_t bytes);
  /// A request found its worker: the rate by which the queue moves.
  void placed(Instant now);

  std::int64_t waiting() const { return requests_.load(std::memory_order_relaxed); }
  /// How long the queue ahead will take at the measured rate, 1…30 s; 2 s where nothing was placed
  /// lately (a worker that is down is probed twice a second).
  Duration retry_after(Instant now) const;

 private:
  std::atomic<std::int64_t> requests_{0};
  std::atomic<std::int64_t> bytes_{0};
  std::atomic<std::int64_t> window_ns_{0};      // when the current second began
  std::atomic<std::int64_t> placed_{0};         // within it
  std::atomic<std::int64_t> placed_before_{0};  // within the one before
};

}  // namespace hf::core
