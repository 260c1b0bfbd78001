#include "routing/policy.hpp"

#include <string>
#include <utility>

#include "routing/policy_base.hpp"
#include "routing/session_policy.hpp"

namespace hf::routing {
namespace {

using core::FleetView;
using core::PickRequest;

class LeastLoaded final : public Policy {
 public:
  using Policy::Policy;

 private:
  std::size_t choose(const FleetView&, const PickRequest&) override { return least_loaded(); }
};

class RoundRobin final : public Policy {
 public:
  explicit RoundRobin(PolicyOptions options)
      : Policy(std::move(options)), next_(random_.below(1024)) {}

 private:
  std::size_t choose(const FleetView&, const PickRequest&) override {
    return candidates_[next_++ % candidates_.size()]->index;
  }
  std::size_t next_;
};

class UniformRandom final : public Policy {
 public:
  using Policy::Policy;

 private:
  std::size_t choose(const FleetView&, const PickRequest&) override {
    return candidates_[random_.below(candidates_.size())]->index;
  }
};

// The less loaded of two drawn at random (Mitzenmacher, "The Power of Two Choices", 2001).
class PowerOfTwo final : public Policy {
 public:
  using Policy::Policy;

 private:
  std::size_t choose(const FleetView&, const PickRequest&) override {
    const auto first = random_.below(candidates_.size());
    if (candidates_.size() == 1) return candidates_[first]->index;
    const auto step = 1 + random_.below(candidates_.size() - 1);  // never the same one again
    const auto second = (first + step) % candidates_.size();
    const bool second_is_less = load(*candidates_[second]) < load(*candidates_[first]);
    return candidates_[second_is_less ? second : first]->index;
  }
};

}  // namespace

Result<std::unique_ptr<core::Router>> make_policy(std::string_view name, PolicyOptions options) {
  if (name == "least-loaded") return std::make_unique<LeastLoaded>(std::move(options));
  if (name == "round-robin") return std::make_unique<RoundRobin>(std::move(options));
  if (name == "p2c") return std::make_unique<PowerOfTwo>(std::move(options));
  if (name == "random") return std::make_unique<UniformRandom>(std::move(options));
  if (name == "session") return std::make_unique<SessionPolicy>(std::move(options));
  return fail(Code::kBadInput, "unknown routing policy '" + std::string(name) +
                                   "'; choose least-loaded, round-robin, p2c, random or session");
}

}  // namespace hf::routing
