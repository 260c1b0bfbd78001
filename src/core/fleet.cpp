#include "core/fleet.hpp"

#include <algorithm>

#include "base/random.hpp"

namespace hf::core {

std::string_view to_string(WorkerState state) {
  switch (state) {
    case WorkerState::kStarting: return "starting";
    case WorkerState::kReady: return "ready";
    case WorkerState::kSuspect: return "suspect";
    case WorkerState::kSlow: return "slow";
    case WorkerState::kEjected: return "ejected";
    case WorkerState::kDead: return "dead";
    case WorkerState::kRemoved: return "removed";
  }
  return "unknown";
}

const ModelEntry* WorkerStatus::model(std::string_view model_name) const {
  const auto it = std::ranges::find(models, model_name, &ModelEntry::name);
  return it == models.end() ? nullptr : &*it;
}

std::uint64_t WorkerStatus::exact_for(std::string_view model_name) const {
  const auto* entry = model(model_name);
  if (exact_identity == 0 || entry == nullptr || entry->adapter == 0) return exact_identity;
  return std::max<std::uint64_t>(mix64(exact_identity ^ entry->adapter), 1);
}

bool FleetView::known_model(std::string_view model_name) const {
  return std::ranges::any_of(workers, [&](const WorkerStatus& w) {
    return w.state != WorkerState::kRemoved && w.model(model_name) != nullptr;
  });
}

bool FleetView::starting() const {
  return std::ranges::any_of(workers, [](const WorkerStatus& w) {
    return w.state != WorkerState::kRemoved && w.models.empty();
  });
}

}  // namespace hf::core
