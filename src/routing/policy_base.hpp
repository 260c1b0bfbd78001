// What all policies share: who may be chosen at all, and which wishes are given up first.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/random.hpp"
#include "core/router.hpp"
#include "routing/policy.hpp"

namespace hf::routing {

class Policy : public core::Router {
 public:
  explicit Policy(PolicyOptions options);

  std::optional<std::size_t> pick(const core::FleetView& view,
                                  const core::PickRequest& request) final;

 protected:
  /// One of candidates_, which is not empty.
  virtual std::size_t choose(const core::FleetView& view, const core::PickRequest& request) = 0;

  /// Running streams, and prefill in units of a stream's share, so that one long prompt weighs
  /// more than one short one.
  static std::int64_t load(const core::WorkerStatus& worker);
  /// Ties are broken at random: several cores must not all choose the first.
  std::size_t least_loaded();

  std::vector<const core::WorkerStatus*> candidates_;
  PolicyOptions options_;
  Random random_;

 private:
  struct Wishes {
    bool exact = false;
    core::WorkerState state = core::WorkerState::kReady;
    std::span<const std::size_t> exclude;
  };
  void collect(const core::FleetView& view, const core::PickRequest& request, const Wishes& wishes);
  bool has_room(const core::WorkerCells& cells, std::int64_t tokens) const;
};

}  // namespace hf::routing
