#include "routing/policy.hpp"

#include <algorithm>
#include <vector>

namespace hf::routing {
namespace {

using core::FleetView;
using core::PickRequest;
using core::WorkerState;
using core::WorkerStatus;

bool contains(std::span<const std::size_t> list, std::size_t index) {
  return std::ranges::find(list, index) != list.end();
}

class Policy : public core::Router {
 public:
  explicit Policy(PolicyOptions options) : options_(options), random_(options.seed) {}

  std::optional<std::size_t> pick(const FleetView& view, const PickRequest& request) final {
    // Each pass relaxes one wish; what is required (ready, model, identity) never is.
    // A worker that failed this request comes last, and of those the one that failed it just now:
    // an approximate one that did not goes before them.
    const auto failed = request.exclude;
    for (const auto exclude :
         {failed, failed.last(std::min<std::size_t>(failed.size(), 1)), failed.first(0)}) {
      for (const bool exact : {true, false}) {
        if (exact && request.exact_identity == 0) continue;
        if (!exact && request.strict_identity) continue;
        collect(view, request, exact, exclude);
        if (!candidates_.empty()) return choose();
      }
    }
    return std::nullopt;
  }

 protected:
  /// One of candidates_, which is not empty.
  virtual std::size_t choose() = 0;

  std::vector<const WorkerStatus*> candidates_;
  PolicyOptions options_;
  Random random_;

 private:
  void collect(const FleetView& view, const PickRequest& request, bool exact,
               std::span<const std::size_t> exclude) {
    candidates_.clear();
    for (const auto& worker : view.workers) {
      if (worker.state != WorkerState::kReady || worker.model(request.model) == nullptr) continue;
      if (contains(request.never, worker.index)) continue;
      if (contains(exclude, worker.index)) continue;
      if (request.tokens_identity != 0 && worker.tokens_identity != request.tokens_identity)
        continue;
      if (exact && worker.exact_identity != request.exact_identity) continue;
      if (request.suspect && worker.cells->suspects.load(std::memory_order_relaxed) != 0) continue;
      if (request.continuation && !has_room(*worker.cells, request.prefill_tokens)) continue;
      candidates_.push_back(&worker);
    }
  }

  // A single prompt larger than the bound still goes, alone.
  bool has_room(const core::WorkerCells& cells, std::int64_t tokens) const {
    const auto owed = cells.resume_prefill.load(std::memory_order_relaxed);
    return owed <= 0 || owed + tokens <= options_.resume_prefill_tokens_max;
  }
};

class LeastLoaded final : public Policy {
 public:
  using Policy::Policy;

 private:
  // Running streams, and prefill in units of a stream's share, so that one long prompt weighs more
  // than one short one. Ties are broken at random: several cores must not all choose the first.
  static std::int64_t load(const WorkerStatus& worker) {
    const auto owed = worker.cells->prefill_owed.load(std::memory_order_relaxed);
    return worker.cells->running.load(std::memory_order_relaxed) +
           std::max<std::int64_t>(owed, 0) / 1024;
  }

  std::size_t choose() override {
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
};

class RoundRobin final : public Policy {
 public:
  explicit RoundRobin(PolicyOptions options) : Policy(options), next_(random_.below(1024)) {}

 private:
  std::size_t choose() override { return candidates_[next_++ % candidates_.size()]->index; }
  std::size_t next_;
};

}  // namespace

Result<std::unique_ptr<core::Router>> make_policy(std::string_view name, PolicyOptions options) {
  if (name == "least-loaded") return std::make_unique<LeastLoaded>(options);
  if (name == "round-robin") return std::make_unique<RoundRobin>(options);
  return fail(Code::kBadInput, "unknown routing policy '" + std::string(name) +
                                   "'; choose least-loaded or round-robin");
}

}  // namespace hf::routing
