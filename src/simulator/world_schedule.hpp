// The simulated world's clock: a queue of what happens when. It jumps to the next entry, and orders
// entries of one instant by a seeded draw, so that a seed tries orders that a machine would rarely
// see.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "base/time.hpp"

namespace hf::simulator {

class Schedule {
 public:
  explicit Schedule(std::uint64_t seed) : random_(seed) {}

  Instant now() const { return now_; }
  /// Not in the past: `at` is clamped to now().
  void at(Instant at, std::function<void()> what) {
    entries_.push_back({std::max(at, now_), random_.next(), std::move(what)});
    std::push_heap(entries_.begin(), entries_.end());
  }
  void after(Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }
  /// Runs the next entry; false if there is none.
  bool run_next() {
    if (entries_.empty()) return false;
    std::pop_heap(entries_.begin(), entries_.end());
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    now_ = entry.at;
    entry.what();
    return true;
  }
  Random& random() { return random_; }
  /// Uniform in [low, high].
  Duration between(Duration low, Duration high) {
    const auto span = static_cast<std::uint64_t>((high - low).count()) + 1;
    return low + Duration(static_cast<std::int64_t>(random_.below(span)));
  }

 private:
  struct Entry {
    Instant at;
    std::uint64_t tie;
    std::function<void()> what;
    // The heap keeps its greatest in front; the earliest is to be there.
    bool operator<(const Entry& other) const {
      return std::tie(other.at, other.tie) < std::tie(at, tie);
    }
  };
  std::vector<Entry> entries_;
  Random random_;
  // Not the epoch: machines take Instant{} for "never happened".
  Instant now_ = Instant{} + std::chrono::hours(1);
};

}  // namespace hf::simulator
