#include "http/pool.hpp"

#include <algorithm>

#include "net/clock.hpp"

namespace hf::http {
namespace {

constexpr Duration kSweepPeriod = std::chrono::seconds(1);

}  // namespace

Pool::Pool(net::Core& core, PoolLimits limits)
    : core_(core),
      limits_(limits),
      ticker_(core, std::min(kSweepPeriod, limits.idle_max),
              [this](Instant now, Duration) { drop_old(now); }) {}

Pool::Taken Pool::take(const Endpoint& endpoint) {
  const auto found = idle_.find(endpoint.to_string());
  if (found != idle_.end()) {
    const Instant oldest = net::now() - limits_.idle_max;
    auto& idle = found->second;
    while (!idle.empty()) {
      Idle candidate = std::move(idle.back());
      idle.pop_back();
      if (candidate.since < oldest) {
        idle.clear();  // the others are older still
      } else if (candidate.connection.is_idle_alive()) {
        return Taken{std::move(candidate.connection), true};
      }
    }
    idle_.erase(found);
  }
  return Taken{take_new(endpoint), false};
}

ClientConnection Pool::take_new(const Endpoint& endpoint) {
  return ClientConnection(core_, endpoint);
}

void Pool::give_back(ClientConnection connection) {
  if (!connection.is_open() || limits_.idle_per_endpoint_max == 0) return;
  auto& idle = idle_[connection.endpoint().to_string()];
  if (idle.size() >= limits_.idle_per_endpoint_max) idle.erase(idle.begin());
  idle.push_back(Idle{std::move(connection), net::now()});
}

void Pool::drop_all(const Endpoint& endpoint) {
  idle_.erase(endpoint.to_string());
}

std::size_t Pool::idle_count() const {
  std::size_t count = 0;
  for (const auto& [key, idle] : idle_) count += idle.size();
  return count;
}

void Pool::drop_old(Instant now) {
  const Instant oldest = now - limits_.idle_max;
  for (auto entry = idle_.begin(); entry != idle_.end();) {
    auto& idle = entry->second;
    const auto first_young = std::ranges::find_if(
        idle, [oldest](const Idle& candidate) { return candidate.since >= oldest; });
    idle.erase(idle.begin(), first_young);
    entry = idle.empty() ? idle_.erase(entry) : std::next(entry);
  }
}

}  // namespace hf::http
