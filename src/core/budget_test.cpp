#include "core/budget.hpp"

#include <gtest/gtest.h>

namespace hf::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr Instant kStart = Instant{} + std::chrono::hours(1);

int drain(RetryBudget& budget, Instant now) {
  int taken = 0;
  while (budget.take(now)) ++taken;
  return taken;
}

TEST(RetryBudget, EarnsAShareOfTheRequests) {
  RetryBudget budget(0.2, 0);
  drain(budget, kStart);
  for (int i = 0; i < 11; ++i) budget.request_started(kStart);
  EXPECT_EQ(drain(budget, kStart), 2);
}

TEST(RetryBudget, EarnsByTimeAndSavesTenSecondsOfIt) {
  RetryBudget budget(0, 10);
  drain(budget, kStart);
  EXPECT_EQ(drain(budget, kStart + milliseconds(500)), 5);
  EXPECT_EQ(drain(budget, kStart + seconds(1'000)), 100);
}

TEST(RetryBudget, DoesNotEarnFromAClockThatGoesBack) {
  RetryBudget budget(0, 10);
  drain(budget, kStart);
  EXPECT_EQ(drain(budget, kStart - seconds(5)), 0);
}

TEST(HedgeBudget, IsTwoOrFivePercentOfWhatRuns) {
  HedgeBudget few;
  EXPECT_TRUE(few.take(1));
  EXPECT_TRUE(few.take(1));
  EXPECT_FALSE(few.take(1));
  few.release();
  EXPECT_TRUE(few.take(1));
  HedgeBudget many;
  int taken = 0;
  while (many.take(200)) ++taken;
  EXPECT_EQ(taken, 10);
}

TEST(Backoff, DoublesWithFullJitterUpToTwoSeconds) {
  Random random(1);
  for (int failures = 1; failures <= 12; ++failures) {
    const auto cap = std::min(Duration(milliseconds(50)) * (1 << (std::min(failures, 7) - 1)),
                              Duration(seconds(2)));
    Duration least = Duration::max();
    Duration most{};
    for (int i = 0; i < 500; ++i) {
      const auto wait = backoff(failures, random);
      least = std::min(least, wait);
      most = std::max(most, wait);
    }
    EXPECT_LT(most, cap);
    EXPECT_GT(most, cap * 9 / 10);
    EXPECT_LT(least, cap / 10);
  }
}

}  // namespace
}  // namespace hf::core
