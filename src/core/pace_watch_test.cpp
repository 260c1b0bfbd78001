#include "core/pace_watch.hpp"

#include <gtest/gtest.h>

namespace hf::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Duration kPeers = milliseconds(10);
constexpr Pace kSlow{.median = milliseconds(51), .gaps = 20};
constexpr Pace kMiddling{.median = milliseconds(30), .gaps = 20};
constexpr Pace kFast{.median = milliseconds(19), .gaps = 20};
constexpr Pace kNothing{};

struct Watch {
  bool look(const Pace& own, Duration peers = kPeers, bool idle = false, bool may = true) {
    return watch.look(now, own, peers, idle, may);
  }
  /// Looks four times a second; true if it changed meanwhile.
  bool look_for(Duration time, const Pace& own, Duration peers = kPeers, bool idle = false) {
    bool changed = false;
    for (const auto end = now + time; now < end; now += milliseconds(250))
      changed = look(own, peers, idle) || changed;
    return changed;
  }
  PaceWatch watch;
  Instant now = Instant{} + std::chrono::hours(1);
};

TEST(PaceWatch, FiveTimesItsPeersIsSlow) {
  Watch watch;
  EXPECT_FALSE(watch.look({.median = milliseconds(50), .gaps = 20}));
  EXPECT_TRUE(watch.look(kSlow));
  EXPECT_TRUE(watch.watch.is_slow());
}

TEST(PaceWatch, PeersWhoseTokensComeInBunchesProveNothing) {
  Watch watch;
  EXPECT_FALSE(watch.look({.median = milliseconds(50), .gaps = 20}, std::chrono::microseconds(65)));
  EXPECT_TRUE(watch.look(kSlow, std::chrono::microseconds(65)));
  EXPECT_FALSE(watch.look_for(minutes(2), {.median = milliseconds(20), .gaps = 20},
                              std::chrono::microseconds(65)));
  EXPECT_TRUE(watch.look_for(seconds(11), kFast, std::chrono::microseconds(65)));
}

TEST(PaceWatch, FewGapsOrNoPeersProveNothing) {
  Watch watch;
  EXPECT_FALSE(watch.look({.median = milliseconds(900), .gaps = 19}));
  EXPECT_FALSE(watch.look(kSlow, Duration::zero()));
  EXPECT_FALSE(watch.look(kSlow, kPeers, false, false));  // too many are given up already
  EXPECT_FALSE(watch.watch.is_slow());
}

TEST(PaceWatch, ClearsBelowTwiceForTenSecondsAndNotWithinAMinute) {
  Watch watch;
  watch.look(kSlow);
  EXPECT_FALSE(watch.look_for(seconds(59), kFast));
  EXPECT_TRUE(watch.look_for(seconds(2), kFast));
  EXPECT_FALSE(watch.watch.is_slow());
  EXPECT_FALSE(watch.look_for(seconds(58), kSlow));  // at most one change a minute
  EXPECT_TRUE(watch.look_for(seconds(2), kSlow));
}

TEST(PaceWatch, BetweenTwiceAndFiveTimesItStaysWhatItIs) {
  Watch watch;
  EXPECT_FALSE(watch.look_for(minutes(2), kMiddling));
  watch.look(kSlow);
  EXPECT_FALSE(watch.look_for(minutes(5), kMiddling));
  EXPECT_FALSE(watch.look_for(seconds(8), kFast));
  EXPECT_FALSE(watch.look_for(seconds(1), kMiddling));  // ten seconds without a break
  EXPECT_FALSE(watch.look_for(seconds(10), kFast));
  EXPECT_TRUE(watch.look_for(seconds(1), kFast));
}

TEST(PaceWatch, AnIdleOneIsTriedAgainAfterAMinuteThenAfterLonger) {
  Watch watch;
  watch.look(kSlow);
  EXPECT_FALSE(watch.look_for(minutes(5), kNothing, kPeers, false));  // some stream could not move
  EXPECT_TRUE(watch.look(kNothing, kPeers, true));
  EXPECT_TRUE(watch.look_for(seconds(61), kSlow));  // it had not got better
  EXPECT_FALSE(watch.look_for(seconds(119), kNothing, kPeers, true));
  EXPECT_TRUE(watch.look_for(seconds(2), kNothing, kPeers, true));
}

}  // namespace
}  // namespace hf::core
