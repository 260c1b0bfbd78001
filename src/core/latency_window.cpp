#include "core/latency_window.hpp"

#include <algorithm>
#include <bit>

namespace hf::core {
namespace {

// 64 µs resolution at the bottom, four buckets an octave above it.
std::size_t bucket_of(Duration gap, std::size_t buckets) {
  const auto units = static_cast<std::uint64_t>(std::max<std::int64_t>(gap.count(), 0) / 65536);
  if (units < 4) return units;
  const auto octave = static_cast<std::size_t>(std::bit_width(units)) - 3;  // units in [4, 8) -> 0
  const auto quarter = static_cast<std::size_t>((units >> octave) & 3);
  return std::min(4 + octave * 4 + quarter, buckets - 1);
}

Duration upper_edge(std::size_t bucket) {
  if (bucket < 4) return Duration(static_cast<std::int64_t>(bucket + 1) * 65536);
  const auto octave = (bucket - 4) / 4;
  const auto quarter = (bucket - 4) % 4;
  return Duration(static_cast<std::int64_t>(((4 + quarter + 1) << octave) * 65536ULL));
}

}  // namespace

std::size_t LatencyWindow::slice_of(Instant now) {
  return static_cast<std::size_t>(now.time_since_epoch() / kSlice) % kSlices;
}

void LatencyWindow::add(Instant now, Duration gap) {
  counts_[slice_of(now)][bucket_of(gap, kBuckets)].fetch_add(1, std::memory_order_relaxed);
}

void LatencyWindow::turn(Instant now) {
  auto& next = counts_[(slice_of(now) + 1) % kSlices];
  for (auto& cell : next) cell.store(0, std::memory_order_relaxed);
}

std::uint64_t LatencyWindow::count() const {
  std::uint64_t total = 0;
  for (const auto& slice : counts_) {
    for (const auto& cell : slice) total += cell.load(std::memory_order_relaxed);
  }
  return total;
}

Duration LatencyWindow::quantile(double q) const {
  const auto total = count();
  if (total == 0) return Duration::zero();
  const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(total));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    for (const auto& slice : counts_) seen += slice[bucket].load(std::memory_order_relaxed);
    if (seen > rank) return upper_edge(bucket);
  }
  return upper_edge(kBuckets - 1);
}

}  // namespace hf::core
