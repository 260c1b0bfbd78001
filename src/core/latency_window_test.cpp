#include "core/latency_window.hpp"

#include <gtest/gtest.h>

namespace hf::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr Instant kStart = Instant{} + std::chrono::hours(1);

TEST(LatencyWindow, IsEmptyAtFirst) {
  LatencyWindow window;
  EXPECT_EQ(window.count(), 0U);
  EXPECT_EQ(window.quantile(0.99), Duration::zero());
}

TEST(LatencyWindow, KnowsQuantilesWithinAQuarterOctave) {
  LatencyWindow window;
  for (int i = 1; i <= 1000; ++i) window.add(kStart, milliseconds(i));
  EXPECT_EQ(window.count(), 1000U);
  for (const double q : {0.1, 0.5, 0.9, 0.99}) {
    const double exact = 1000 * q;
    EXPECT_GE(millis(window.quantile(q)), exact * 0.99) << q;
    EXPECT_LE(millis(window.quantile(q)), exact * 1.25) << q;
  }
}

TEST(LatencyWindow, TakesTinyHugeAndNegativeGaps) {
  LatencyWindow window;
  window.add(kStart, Duration(-5));
  window.add(kStart, Duration(0));
  window.add(kStart, Duration(1));
  window.add(kStart, std::chrono::hours(24));
  EXPECT_EQ(window.count(), 4U);
  EXPECT_GT(window.quantile(0.99), seconds(100));
}

TEST(LatencyWindow, ForgetsAfterAMinute) {
  LatencyWindow window;
  for (int i = 0; i < 50; ++i) window.add(kStart, milliseconds(10));
  Instant now = kStart;
  for (; now <= kStart + seconds(50); now += seconds(1)) window.turn(now);
  EXPECT_EQ(window.count(), 50U);
  for (; now <= kStart + seconds(85); now += seconds(1)) window.turn(now);
  EXPECT_EQ(window.count(), 0U);
}

TEST(LatencyWindow, LooksAtTheLastSecondsAlone) {
  LatencyWindow window;
  Instant now = kStart;
  for (int i = 0; i < 20; ++i, now += seconds(1)) {
    window.turn(now);
    for (int n = 0; n < 10; ++n) window.add(now, milliseconds(10));
  }
  EXPECT_EQ(window.count(now - seconds(1), 3), 40U);  // three full seconds and the current one
  for (int i = 0; i < 4; ++i, now += seconds(1)) {
    window.turn(now);
    for (int n = 0; n < 5; ++n) window.add(now, milliseconds(500));
  }
  now -= seconds(1);
  EXPECT_EQ(window.count(now, 3), 20U);
  EXPECT_GT(window.quantile(0.5, now, 3), milliseconds(400));
  EXPECT_LT(window.quantile(0.5), milliseconds(20));  // over the minute it was fast
}

TEST(LatencyWindow, APauseOfOursLeavesNothingOfAMinuteAgo) {
  LatencyWindow window;
  window.turn(kStart);
  window.add(kStart, milliseconds(10));
  window.turn(kStart + seconds(61));
  EXPECT_EQ(window.count(), 0U);
}

TEST(LatencyWindow, KeepsWhatIsAddedWhileItTurns) {
  LatencyWindow window;
  for (Instant now = kStart; now < kStart + seconds(300); now += seconds(1)) {
    window.turn(now);
    window.add(now, milliseconds(10));
  }
  EXPECT_GE(window.count(), 60U);
  EXPECT_LE(window.count(), 80U);
}

}  // namespace
}  // namespace hf::core
