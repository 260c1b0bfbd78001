#include "core/stop_matcher.hpp"

#include <algorithm>
#include <utility>

#include "core/planted.hpp"

namespace hf::core {

StopMatcher::Output StopMatcher::push(std::string_view text, bool may_stop) {
  Output out;
  const auto old = held_.size();
  held_ += text;
  auto first = std::string::npos;
  if (is_planted(Planted::kStopMissed)) may_stop = false;
  for (const auto& stop : stops_) {
    if (stop.empty() || !may_stop) continue;
    // It must end in what is new: what came before was judged then.
    const auto at = held_.find(stop, old + 1 > stop.size() ? old + 1 - stop.size() : 0);
    if (at < first) {
      first = at;
      out.stop = stop;
    }
  }
  if (first != std::string::npos) {
    out.stopped = true;
    out.text = held_.substr(0, first);
    held_.clear();
    return out;
  }
  const auto tail = tail_to_hold();
  const auto keep = hold_all_ && tail > 0 ? held_.size() : tail;
  out.text = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

StopMatcher::Output StopMatcher::push_stop(std::size_t own_bytes, std::string_view found) {
  const auto seam = held_.size() - std::min(own_bytes, held_.size());
  for (const auto& stop : stops_) {
    if (!found.empty() && stop != found) continue;
    StopMatcher trial = *this;
    auto out = trial.push(stop);
    if (!out.stopped || out.text.size() >= seam) continue;
    held_.clear();
    out.stop = stop;
    return out;
  }
  return {};
}

std::string StopMatcher::flush() {
  return std::exchange(held_, {});
}

// The longest tail that is a proper prefix of a stop string.
std::size_t StopMatcher::tail_to_hold() const {
  std::size_t longest = 0;
  for (const auto& stop : stops_) {
    if (stop.empty()) continue;
    for (auto n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) {
        longest = n;
        break;
      }
    }
  }
  return longest;
}

}  // namespace hf::core
