// The oracles of fuzz_request_machine on inputs that are drawn: they hold, and they can fail.
#include <gtest/gtest.h>

#include "core/planted.hpp"
#include "core/request_fuzz_world.hpp"

namespace hf::core::fuzz {
namespace {

std::string run_seed(std::uint64_t seed) {
  Random random(seed);
  std::vector<std::uint8_t> bytes(100 + random.below(300));
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.below(256));
  return World(bytes.data(), bytes.size()).run();
}

/// The first of so many inputs that breaks a rule; 0: none.
std::uint64_t first_broken(std::uint64_t count) {
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    if (!run_seed(seed).empty()) return seed;
  }
  return 0;
}

TEST(RequestFuzz, RulesHoldForInputsThatAreDrawn) {
  for (std::uint64_t seed = 1; seed <= 5'000; ++seed) {
    ASSERT_EQ(run_seed(seed), "") << "input " << seed;
  }
}

class PlantedMistake : public testing::TestWithParam<Planted> {
 protected:
  void TearDown() override { planted_mistake = Planted::kNone; }
};

TEST_P(PlantedMistake, IsFound) {
  planted_mistake = GetParam();
  EXPECT_NE(first_broken(2'000), 0U);
}

// The others are mistakes of drivers, of routing or of the fleet, or show only over many requests.
INSTANTIATE_TEST_SUITE_P(RequestFuzz, PlantedMistake,
                         testing::Values(Planted::kTokenTwice, Planted::kIdDropped,
                                         Planted::kHeldTextLost, Planted::kStopMissed,
                                         Planted::kLimitNotRebased, Planted::kDoneMissing,
                                         Planted::kFinishedResumed, Planted::kHedgeNotReturned,
                                         Planted::kRunningNotReturned, Planted::kPrefillNotReturned,
                                         Planted::kQueueSlotLeaked, Planted::kLoserNotCancelled,
                                         Planted::kStaleHedgeWins, Planted::kWaitsForEver));

}  // namespace
}  // namespace hf::core::fuzz
