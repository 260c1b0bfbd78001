// Errors of a worker that lives. (A dead worker is not under the breaker's timer.)
//
// Opens at 3 failures in a row, or at half of at least 10 within 10 s; stays open 1 s, doubling to
// 30 s; then one probe decides. 4xx answers never come here.
#pragma once

#include <cstdint>

#include "base/time.hpp"

namespace hf::core {

class Breaker {
 public:
  void succeeded(Instant now);
  /// True if this failure opened it.
  bool failed(Instant now);
  bool is_open() const { return open_; }
  /// When it is open: from when on a probe may close it.
  Instant probe_at() const { return probe_at_; }
  /// The half-open probe's result.
  void probed(Instant now, bool ok);
  void reset() { *this = Breaker{}; }

 private:
  void open(Instant now);
  void roll(Instant now);

  static constexpr Duration kWindow = std::chrono::seconds(10);
  static constexpr Duration kOpenMin = std::chrono::seconds(1);
  static constexpr Duration kOpenMax = std::chrono::seconds(30);
  std::uint32_t in_a_row_ = 0;
  std::uint32_t failures_ = 0;
  std::uint32_t total_ = 0;
  Instant window_start_{};
  bool open_ = false;
  Instant probe_at_{};
  Duration open_for_ = kOpenMin;
};

}  // namespace hf::core
