#include "core/pace_watch.hpp"

#include <algorithm>

#include "core/transitions.hpp"

namespace hf::core {

bool PaceWatch::change(Instant now, bool slow) {
  pace_transitions.note(slow_, slow);
  slow_ = slow;
  changed_at_ = now;
  below_since_ = kNever;
  return true;
}

bool PaceWatch::look(Instant now, const Pace& own, Duration peers, bool idle, bool may_turn_slow) {
  const bool settled = changed_at_ == Instant{} || now - changed_at_ >= kChangeEvery;
  const bool compared = own.is_known() && peers > Duration::zero();
  peers = std::max(peers, kPeersMin);
  if (!slow_) {
    if (!compared || !settled || !may_turn_slow || own.median <= 5 * peers) return false;
    const bool again = changed_at_ != Instant{} && now - changed_at_ < 2 * kChangeEvery;
    trial_after_ = again ? std::min(2 * trial_after_, kTrialMax) : kChangeEvery;
    return change(now, true);
  }
  if (compared) {
    const bool below = own.median < 2 * peers;
    below_since_ = below ? std::min(below_since_, now) : kNever;
    return below && settled && now - below_since_ >= kClearAfter && change(now, false);
  }
  return idle && now - changed_at_ >= trial_after_ && change(now, false);
}

}  // namespace hf::core
