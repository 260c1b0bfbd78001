// The one place where production code reads the clock.
#pragma once

#include <chrono>

#include "base/time.hpp"

namespace hf::net {

/// The kernel's monotonic clock. Any thread.
Instant now();

/// The same point for Asio's timers; kNever stays "never".
std::chrono::steady_clock::time_point to_steady(Instant at);

/// `at + wait` that stops at kNever instead of wrapping.
Instant after(Instant at, Duration wait);

}  // namespace hf::net
