#include "core/admission.hpp"

namespace hf::core {
namespace {
constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kRateAgeNs = 10 * kSecondNs;
constexpr Duration kRetryMin = std::chrono::seconds(1);
constexpr Duration kRetryMax = std::chrono::seconds(30);
constexpr Duration kRetryUnknown = std::chrono::seconds(2);
}  // namespace

bool AdmissionQueue::enter(std::size_t bytes, std::int64_t requests_max, std::int64_t bytes_max) {
  const auto size = static_cast<std::int64_t>(bytes);
  const auto requests = requests_.fetch_add(1, std::memory_order_relaxed);
  const auto held = bytes_.fetch_add(size, std::memory_order_relaxed);
  const bool fits = requests < requests_max && held + size <= bytes_max;
  if (!fits) leave(bytes);
  return fits;
}

void AdmissionQueue::enter_again(std::size_t bytes) {
  requests_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
}

void AdmissionQueue::leave(std::size_t bytes) {
  requests_.fetch_sub(1, std::memory_order_relaxed);
  bytes_.fetch_sub(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
}

void AdmissionQueue::placed(Instant now) {
  const auto at = now.time_since_epoch().count();
  auto began = window_ns_.load(std::memory_order_relaxed);
  if (at - began >= kSecondNs &&
      window_ns_.compare_exchange_strong(began, at, std::memory_order_relaxed)) {
    placed_before_.store(placed_.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
  }
  placed_.fetch_add(1, std::memory_order_relaxed);
}

Duration AdmissionQueue::retry_after(Instant now) const {
  const auto age = now.time_since_epoch().count() - window_ns_.load(std::memory_order_relaxed);
  const auto rate = std::max(placed_.load(std::memory_order_relaxed),
                             placed_before_.load(std::memory_order_relaxed));
  if (age > kRateAgeNs || rate <= 0) return kRetryUnknown;
  const Duration needed((waiting() + 1) * kSecondNs / rate);
  return std::clamp(needed, kRetryMin, kRetryMax);
}

}  // namespace hf::core
