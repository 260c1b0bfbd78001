#include "routing/session_table.hpp"

#include <algorithm>

namespace hf::routing {

SessionTable::SessionTable(std::size_t sessions_max, Duration idle_max)
    : sessions_max_(std::max<std::size_t>(1, sessions_max)), idle_max_(idle_max) {}

void SessionTable::visit(std::uint64_t session, Instant now,
                         const std::function<void(SessionPlace&)>& decide) {
  decide(find(session, now));
}

SessionPlace& SessionTable::find(std::uint64_t session, Instant now) {
  // Two at a time keeps up with one insertion: memory follows what is in use.
  for (int i = 0; i < 2 && !by_use_.empty(); ++i) {
    if (now - by_use_.back().used <= idle_max_) break;
    drop_last();
  }
  if (const auto found = entries_.find(session); found != entries_.end()) {
    by_use_.splice(by_use_.begin(), by_use_, found->second);
    auto& entry = *found->second;
    if (now - entry.used > idle_max_) entry.place = {};
    entry.used = std::max(entry.used, now);
    return entry.place;
  }
  if (entries_.size() >= sessions_max_) drop_last();
  by_use_.push_front({session, now, {}});
  entries_.emplace(session, by_use_.begin());
  return by_use_.front().place;
}

void SessionTable::drop_last() {
  entries_.erase(by_use_.back().session);
  by_use_.pop_back();
}

}  // namespace hf::routing
