// Mistakes that tests can switch on, to prove that they would be found. Nothing else sets this; the
// cost is one relaxed load where a resume begins.
#pragma once

#include <atomic>
#include <cstdint>

namespace hf::core {

enum class Planted : std::uint8_t {
  kNone,
  kTokenTwice,      // a resume carries one id less than was sent: that token is sent again
  kIdDropped,       // the last id is not carried, though it is counted as if it were
  kResumeFromText,  // the driver sends what the ids read as, not the ids (planted in the simulator)
};

inline std::atomic<Planted> planted_mistake{Planted::kNone};

inline bool is_planted(Planted mistake) {
  return planted_mistake.load(std::memory_order_relaxed) == mistake;
}

}  // namespace hf::core
