// How much extra work failures may cause: retries, hedges, backoff. One of each a core.
//
// Continuations of started streams are never charged here: they are paced by prefill instead.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/random.hpp"
#include "base/time.hpp"

namespace hf::core {

/// New-request retries: at most `ratio` of the requests plus `per_second` (divided by the number of
/// cores), saved up for at most ten seconds.
class RetryBudget {
 public:
  RetryBudget(double ratio, double per_second) : ratio_(ratio), per_second_(per_second) {}

  void request_started(Instant now) {
    refill(now);
    tokens_ = std::min(tokens_ + ratio_, cap());
  }
  /// True if one more retry may be made now; it is then charged.
  bool take(Instant now) {
    refill(now);
    if (tokens_ < 1.0) return false;
    tokens_ -= 1.0;
    ++taken_;
    return true;
  }
  std::uint64_t taken() const { return taken_; }

 private:
  double cap() const { return std::max(10.0, per_second_ * 10); }
  void refill(Instant now) {
    if (now > last_) {
      if (last_ != Instant{})
        tokens_ = std::min(tokens_ + seconds(now - last_) * per_second_, cap());
      last_ = now;
    }
  }
  double ratio_;
  double per_second_;
  double tokens_ = 10.0;
  std::uint64_t taken_ = 0;
  Instant last_{};
};

/// Hedges at a time: max(2, 5 % of running requests).
class HedgeBudget {
 public:
  explicit HedgeBudget(double ratio = 0.05) : ratio_(ratio) {}
  bool take(std::int64_t running_requests) {
    const auto limit = std::max<std::int64_t>(
        2, static_cast<std::int64_t>(ratio_ * static_cast<double>(running_requests)));
    if (running_ >= limit) return false;
    ++running_;
    return true;
  }
  void release() { --running_; }
  std::int64_t running() const { return running_; }

 private:
  double ratio_;
  std::int64_t running_ = 0;
};

/// 50 ms doubling to 2 s, full jitter (Brooker, "Exponential Backoff And Jitter", 2015).
inline Duration backoff(int failures, Random& random) {
  const auto steps = std::clamp(failures, 1, 7) - 1;
  const auto cap =
      std::min(std::chrono::milliseconds(50) * (1 << steps), std::chrono::milliseconds(2000));
  return Duration(static_cast<std::int64_t>(
      random.unit() * static_cast<double>(std::chrono::duration_cast<Duration>(cap).count())));
}

}  // namespace hf::core
