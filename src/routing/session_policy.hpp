// `session`: requests of one session go to one worker, so that its prefix cache serves them.
//
// First placed by rendezvous hashing of worker names (Thaler, Ravishankar 1998) with bounded load
// (Mirrokni et al. 2016): the best-scored worker whose running requests stay within 1.25 × the
// mean. From then on it stays: it moves only when its worker is dead, is being drained or serves
// the model no more. A worker that cannot take this one request (it failed it, is suspect or
// ejected) is gone around, and the session comes back to it. Requests without a session go by load.
#pragma once

#include <memory>

#include "routing/policy_base.hpp"

namespace hf::routing {

class SessionPolicy final : public Policy {
 public:
  explicit SessionPolicy(PolicyOptions options);

 private:
  std::size_t choose(const core::FleetView& view, const core::PickRequest& request) override;
  std::size_t first_place(std::uint64_t session) const;
  bool is_candidate(std::size_t index) const;

  std::shared_ptr<SessionPlaces> places_;
};

}  // namespace hf::routing
