// Is a worker much slower than its peers? (behaviour.md §4, `slow worker`.)
//
// Slow: the median of its gaps over 3 s is more than 5 × its peers', from at least 20 gaps. Peers
// count as 10 ms at least: whose tokens come in bunches (through a proxy, after a pause) has a
// median near zero, which proves nothing about the others. Cleared when it stays below 2 × for 10
// s. A slow worker whose streams all moved away shows no pace at all: it is tried again after a
// minute, after twice as long each time that it proves slow again. At most one change a minute.
#pragma once

#include <cstdint>

#include "base/time.hpp"

namespace hf::core {

/// How far back gaps are looked at.
inline constexpr Duration kPaceLooksBack = std::chrono::seconds(3);

/// Gaps between tokens over that time.
struct Pace {
  Duration median{};
  std::uint64_t gaps = 0;
  bool is_known() const { return gaps >= 20; }
};

class PaceWatch {
 public:
  /// `peers`: the median of its peers' medians; zero: there is none to compare with. `idle`: no
  /// stream runs there. `may_turn_slow`: at most half of a model's workers are given up. True if
  /// is_slow() changed.
  bool look(Instant now, const Pace& own, Duration peers, bool idle, bool may_turn_slow);
  bool is_slow() const { return slow_; }
  void reset() { *this = PaceWatch{}; }

 private:
  bool change(Instant now, bool slow);

  static constexpr Duration kPeersMin = std::chrono::milliseconds(10);
  static constexpr Duration kChangeEvery = std::chrono::minutes(1);
  static constexpr Duration kClearAfter = std::chrono::seconds(10);
  static constexpr Duration kTrialMax = std::chrono::minutes(16);
  bool slow_ = false;
  Instant changed_at_{};
  Instant below_since_ = kNever;
  Duration trial_after_ = kChangeEvery;
};

}  // namespace hf::core
