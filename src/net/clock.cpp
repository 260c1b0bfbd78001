#include "net/clock.hpp"

namespace hf::net {

Instant now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return Instant(std::chrono::duration_cast<Duration>(since));
}

std::chrono::steady_clock::time_point to_steady(Instant at) {
  if (at == kNever) return std::chrono::steady_clock::time_point::max();
  return std::chrono::steady_clock::time_point(at.time_since_epoch());
}

Instant after(Instant at, Duration wait) {
  if (at == kNever || wait >= kNever - at) return kNever;
  return at + wait;
}

}  // namespace hf::net
