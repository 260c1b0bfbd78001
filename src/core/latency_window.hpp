// Inter-token gaps of one worker over the last minute, for the stall threshold.
//
// Data cores add samples (a relaxed increment each), the control core reads quantiles and turns the
// window. Buckets grow by a quarter octave, so a quantile is right within 19 %. Slices of a second
// let the last few seconds be looked at on their own (is this worker slow now?).
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
  /// Forgets the slices that were not turned yet, up to the one that `now` is about to write into;
  /// call at least every second, one thread.
  void turn(Instant now);
  /// Samples within the last 60 s.
  std::uint64_t count() const;
  /// The gap below which the share `q` (0..1) of the samples lies; zero without samples.
  Duration quantile(double q) const;
  /// The same over the last `slices` full seconds and the current one.
  std::uint64_t count(Instant now, std::size_t slices) const;
  Duration quantile(double q, Instant now, std::size_t slices) const;

 private:
  static constexpr std::size_t kSlices = 62;  // sixty full ones, the current, the next
  static constexpr std::size_t kBuckets = 96;
  static constexpr Duration kSlice = std::chrono::seconds(1);
  static std::int64_t number_of(Instant now);
  static std::size_t slice_of(Instant now);
  Duration quantile_of(double q, std::int64_t first, std::int64_t last) const;
  std::uint64_t count_of(std::int64_t first, std::int64_t last) const;

  std::array<std::array<std::atomic<std::uint32_t>, kBuckets>, kSlices> counts_{};
  std::int64_t turned_ = -1;  // the last slice that was forgotten, by its number
};

}  // namespace hf::core
