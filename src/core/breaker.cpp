#include "core/breaker.hpp"

#include <algorithm>

#include "core/planted.hpp"
#include "core/transitions.hpp"

namespace hf::core {

void Breaker::roll(Instant now) {
  if (now - window_start_ < kWindow) return;
  window_start_ = now;
  failures_ = 0;
  total_ = 0;
}

void Breaker::succeeded(Instant now) {
  roll(now);
  ++total_;
  in_a_row_ = 0;
  if (!open_) open_for_ = kOpenMin;
}

bool Breaker::failed(Instant now) {
  roll(now);
  ++total_;
  ++failures_;
  ++in_a_row_;
  if (open_) return false;
  if (in_a_row_ < 3 && !(total_ >= 10 && failures_ * 2 >= total_)) return false;
  open(now);
  return true;
}

void Breaker::open(Instant now) {
  breaker_transitions.note(open_, true);
  open_ = true;
  probe_at_ = now + open_for_;
  open_for_ = std::min(open_for_ * 2, kOpenMax);
}

void Breaker::probed(Instant now, bool ok) {
  if (!open_ || now < probe_at_) return;
  if (!ok) {
    open(now);
    return;
  }
  if (is_planted(Planted::kHalfOpenStaysOpen)) return;
  breaker_transitions.note(open_, false);
  open_ = false;
  in_a_row_ = 0;
  failures_ = 0;
  total_ = 0;
}

}  // namespace hf::core
