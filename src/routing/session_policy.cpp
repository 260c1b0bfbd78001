#include "routing/session_policy.hpp"

#include <algorithm>
#include <utility>

#include "base/hash.hpp"

namespace hf::routing {
namespace {

using core::WorkerState;
using core::WorkerStatus;

bool must_leave(const WorkerStatus& home, std::string_view model) {
  return home.state == WorkerState::kDead || home.state == WorkerState::kRemoved ||
         home.model(model) == nullptr;
}

}  // namespace

SessionPolicy::SessionPolicy(PolicyOptions options)
    : Policy(std::move(options)), places_(options_.sessions) {
  if (!places_) places_ = std::make_shared<SessionTable>();
}

bool SessionPolicy::is_candidate(std::size_t index) const {
  return std::ranges::any_of(candidates_,
                             [index](const auto* worker) { return worker->index == index; });
}

std::size_t SessionPolicy::first_place(std::uint64_t session) const {
  std::int64_t running = 0;
  for (const auto* worker : candidates_)
    running += worker->cells->running.load(std::memory_order_relaxed);
  // ceil(1.25 × mean), this request counted: somebody is always below it.
  const auto workers = static_cast<std::int64_t>(candidates_.size());
  const auto bound = (5 * (running + 1) + 4 * workers - 1) / (4 * workers);
  const WorkerStatus* best = nullptr;
  std::uint64_t best_score = 0;
  for (const auto* worker : candidates_) {
    if (worker->cells->running.load(std::memory_order_relaxed) + 1 > bound) continue;
    const auto score = mix64(session ^ hash_bytes(worker->name));
    if (best == nullptr || score > best_score) {
      best = worker;
      best_score = score;
    }
  }
  // Figures of other cores may have moved in between.
  return best != nullptr ? best->index : candidates_.front()->index;
}

std::size_t SessionPolicy::choose(const core::FleetView& view, const core::PickRequest& request) {
  if (request.session == 0) return least_loaded();
  // Two models of one user are two sessions: they may be on different workers.
  const auto session = mix64(request.session ^ hash_bytes(request.model));
  std::size_t chosen = 0;
  places_->visit(session, request.now, [&](SessionPlace& place) {
    if (place.home && is_candidate(*place.home)) {
      place.away.reset();
      chosen = *place.home;
      return;
    }
    // What went around a worker that turned out to be dead has its prefix there already.
    const bool is_away = place.away && is_candidate(*place.away);
    chosen = is_away ? *place.away : first_place(session);
    if (!place.home || must_leave(view.workers[*place.home], request.model)) {
      place = {chosen, std::nullopt};
    } else {
      place.away = chosen;
    }
  });
  return chosen;
}

}  // namespace hf::routing
