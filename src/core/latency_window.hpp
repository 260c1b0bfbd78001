// Inter-token gaps of one worker over the last minute, for the stall threshold.
//
// Data cores add samples (a relaxed increment each), the control core reads quantiles and turns the
// window. Buckets grow by a quarter octave, so a quantile is right within 19 %.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/time.hpp"

namespace hf::core {

class LatencyWindow {
 public:
  /// Adds one gap at `now`. Any thread.
  void add(Instant now, Duration gap);
  /// Forgets the slice that `now` is about to write into; call at least every 5 s, one thread.
  void turn(Instant now);
  /// Samples within the last 60 s.
  std::uint64_t count() const;
  /// The gap below which the share `q` (0..1) of the samples lies; zero without samples.
  Duration quantile(double q) const;

 private:
  static constexpr std::size_t kSlices = 8;  // of 10 s: six full ones, the current, the next
  static constexpr std::size_t kBuckets = 96;
  static constexpr Duration kSlice = std::chrono::seconds(10);
  static std::size_t slice_of(Instant now);

  std::array<std::array<std::atomic<std::uint32_t>, kBuckets>, kSlices> counts_{};
};

}  // namespace hf::core
