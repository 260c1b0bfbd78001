// Time as the machines see it: a point on a steady clock that somebody else reads.
//
// Machines are handed an Instant with every input; `net` reads it from the kernel's steady clock,
// the simulator makes it up. Nothing in `core` can ask what time it is.
#pragma once

#include <chrono>
#include <cstdint>

namespace hf {

using Duration = std::chrono::nanoseconds;

/// A clock type without now(), so that only `net` and the simulator can make an Instant.
struct SteadyBase {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<SteadyBase>;
  static constexpr bool is_steady = true;
};

using Instant = SteadyBase::time_point;

/// "Never": later than every Instant that occurs.
inline constexpr Instant kNever = Instant::max();

inline double seconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}
inline double millis(Duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

}  // namespace hf
