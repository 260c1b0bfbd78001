#include "routing/policy_base.hpp"

#include <algorithm>
#include <utility>

#include "core/planted.hpp"

namespace hf::routing {
namespace {

using core::FleetView;
using core::PickRequest;
using core::WorkerState;
using core::WorkerStatus;

bool contains(std::span<const std::size_t> list, std::size_t index) {
  return std::ranges::find(list, index) != list.end();
}

bool fits(const core::ModelEntry& model, std::int64_t length) {
  return model.max_len <= 0 || model.max_len > length;
}

// One that is down for now counts: its return is worth more than a certain 400.
bool some_fits(const FleetView& view, const PickRequest& request) {
  if (request.length_min <= 0) return false;
  return std::ranges::any_of(view.workers, [&](const WorkerStatus& worker) {
    const auto* model = worker.model(request.model);
    return model != nullptr && worker.state != WorkerState::kRemoved &&
           fits(*model, request.length_min);
  });
}

}  // namespace

Policy::Policy(PolicyOptions options) : options_(std::move(options)), random_(options_.seed) {}

std::optional<std::size_t> Policy::pick(const FleetView& view, const PickRequest& request) {
  // Each pass relaxes one wish; what is required (model, identity) never is. A slow worker is
  // better than one that just failed this request, and than none.
  // A worker that failed this request comes last, and of those the one that failed it just now:
  // an approximate one that did not goes before them.
  const auto failed = request.exclude;
  for (const auto exclude :
       {failed, failed.last(std::min<std::size_t>(failed.size(), 1)), failed.first(0)}) {
    for (const bool exact : {true, false}) {
      if (exact && request.exact_identity == 0) continue;
      if (!exact && request.strict_identity) continue;
      for (const auto state : {WorkerState::kReady, WorkerState::kSlow}) {
        collect(view, request, {.exact = exact, .state = state, .exclude = exclude});
        if (!candidates_.empty()) return choose(view, request);
      }
    }
  }
  return std::nullopt;
}

void Policy::collect(const FleetView& view, const PickRequest& request, const Wishes& wishes) {
  candidates_.clear();
  const bool must_fit = some_fits(view, request);
  for (const auto& worker : view.workers) {
    const auto* model = worker.model(request.model);
    const bool is_wrong_one = worker.state == core::WorkerState::kEjected &&
                              core::is_planted(core::Planted::kEjectedGetsWork);
    if ((worker.state != wishes.state && !is_wrong_one) || model == nullptr) continue;
    if (must_fit && !fits(*model, request.length_min)) continue;
    if (contains(request.never, worker.index)) continue;
    if (contains(wishes.exclude, worker.index)) continue;
    if (request.tokens_identity != 0 && worker.tokens_identity != request.tokens_identity) continue;
    if (wishes.exact && worker.exact_for(request.model) != request.exact_identity) continue;
    if (request.suspect && worker.cells->suspects.load(std::memory_order_relaxed) != 0) continue;
    if (request.continuation && !has_room(*worker.cells, request.prefill_tokens)) continue;
    candidates_.push_back(&worker);
  }
}

// A single prompt larger than the bound still goes, alone.
bool Policy::has_room(const core::WorkerCells& cells, std::int64_t tokens) const {
  const auto owed = cells.resume_prefill.load(std::memory_order_relaxed);
  if (core::is_planted(core::Planted::kPacingForgotten)) return true;
  return owed <= 0 || owed + tokens <= options_.resume_prefill_tokens_max;
}

std::int64_t Policy::load(const WorkerStatus& worker) {
  const auto owed = worker.cells->prefill_owed.load(std::memory_order_relaxed);
  return worker.cells->running.load(std::memory_order_relaxed) +
         std::max<std::int64_t>(owed, 0) / 1024;
}

std::size_t Policy::least_loaded() {
  const WorkerStatus* best = nullptr;
  std::int64_t best_load = 0;
  std::uint64_t ties = 0;
  for (const auto* worker : candidates_) {
    const auto its_load = load(*worker);
    if (best == nullptr || its_load < best_load) {
      best = worker;
      best_load = its_load;
      ties = 1;
    } else if (its_load == best_load && random_.below(++ties) == 0) {
      best = worker;
    }
  }
  return best->index;
}

}  // namespace hf::routing
