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

std::int64_t LatencyWindow::number_of(Instant now) {
  return now.time_since_epoch() / kSlice;
}

std::size_t LatencyWindow::slice_of(Instant now) {
  return static_cast<std::size_t>(number_of(now)) % kSlices;
}

void LatencyWindow::add(Instant now, Duration gap) {
  counts_[slice_of(now)][bucket_of(gap, kBuckets)].fetch_add(1, std::memory_order_relaxed);
}

void LatencyWindow::turn(Instant now) {
  const auto next = number_of(now) + 1;
  const auto slices = static_cast<std::int64_t>(kSlices);
  // After a pause of ours the slices in between hold what is a minute old.
  for (auto number = std::max(next - slices + 1, turned_ < 0 ? next : turned_ + 1); number <= next;
       ++number) {
    for (auto& cell : counts_[static_cast<std::size_t>(number) % kSlices])
      cell.store(0, std::memory_order_relaxed);
  }
  turned_ = std::max(turned_, next);
}

std::uint64_t LatencyWindow::count_of(std::int64_t first, std::int64_t last) const {
  std::uint64_t total = 0;
  for (auto number = first; number <= last; ++number) {
    for (const auto& cell : counts_[static_cast<std::size_t>(number) % kSlices])
      total += cell.load(std::memory_order_relaxed);
  }
  return total;
}

Duration LatencyWindow::quantile_of(double q, std::int64_t first, std::int64_t last) const {
  const auto total = count_of(first, last);
  if (total == 0) return Duration::zero();
  const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(total));
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    for (auto number = first; number <= last; ++number) {
      seen += counts_[static_cast<std::size_t>(number) % kSlices][bucket].load(
          std::memory_order_relaxed);
    }
    if (seen > rank) return upper_edge(bucket);
  }
  return upper_edge(kBuckets - 1);
}

std::uint64_t LatencyWindow::count() const {
  return count_of(0, static_cast<std::int64_t>(kSlices) - 1);
}

Duration LatencyWindow::quantile(double q) const {
  return quantile_of(q, 0, static_cast<std::int64_t>(kSlices) - 1);
}

std::uint64_t LatencyWindow::count(Instant now, std::size_t slices) const {
  const auto last = number_of(now);
  return count_of(std::max<std::int64_t>(0, last - static_cast<std::int64_t>(slices)), last);
}

Duration LatencyWindow::quantile(double q, Instant now, std::size_t slices) const {
  const auto last = number_of(now);
  return quantile_of(q, std::max<std::int64_t>(0, last - static_cast<std::int64_t>(slices)), last);
}

}  // namespace hf::core
