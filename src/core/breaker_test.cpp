#include "core/breaker.hpp"

#include <gtest/gtest.h>

namespace hf::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr Instant kStart = Instant{} + std::chrono::hours(1);

TEST(Breaker, OpensAtThreeFailuresInARow) {
  Breaker breaker;
  EXPECT_FALSE(breaker.failed(kStart));
  EXPECT_FALSE(breaker.failed(kStart));
  EXPECT_TRUE(breaker.failed(kStart));
  EXPECT_TRUE(breaker.is_open());
}

TEST(Breaker, ASuccessBetweenStartsTheRowAnew) {
  Breaker breaker;
  for (int i = 0; i < 4; ++i) {
    breaker.failed(kStart);
    breaker.failed(kStart);
    for (int success = 0; success < 4; ++success) breaker.succeeded(kStart);
  }
  EXPECT_FALSE(breaker.is_open());
}

TEST(Breaker, OpensAtHalfOfTenInTenSeconds) {
  Breaker breaker;
  for (int i = 0; i < 4; ++i) {
    breaker.succeeded(kStart);
    EXPECT_FALSE(breaker.failed(kStart));
  }
  breaker.succeeded(kStart);
  EXPECT_TRUE(breaker.failed(kStart));
}

TEST(Breaker, ForgetsAfterTenSeconds) {
  Breaker breaker;
  for (int i = 0; i < 4; ++i) {
    breaker.succeeded(kStart);
    breaker.failed(kStart);
  }
  const auto later = kStart + seconds(11);
  breaker.succeeded(later);
  EXPECT_FALSE(breaker.failed(later));
}

TEST(Breaker, OneProbeDecidesWhenItsTimeIsOver) {
  Breaker breaker;
  for (int i = 0; i < 3; ++i) breaker.failed(kStart);
  EXPECT_EQ(breaker.probe_at(), kStart + seconds(1));
  breaker.probed(kStart + milliseconds(500), true);
  EXPECT_TRUE(breaker.is_open());  // too early to count
  breaker.probed(kStart + seconds(1), true);
  EXPECT_FALSE(breaker.is_open());
}

TEST(Breaker, StaysOpenTwiceAsLongEachTimeUpToThirtySeconds) {
  Breaker breaker;
  auto now = kStart;
  for (int i = 0; i < 3; ++i) breaker.failed(now);
  for (const int length : {1, 2, 4, 8, 16, 30, 30}) {
    EXPECT_EQ(breaker.probe_at() - now, seconds(length));
    now = breaker.probe_at();
    breaker.probed(now, false);
  }
}

TEST(Breaker, AGoodTimeForgetsTheDoubling) {
  Breaker breaker;
  for (int i = 0; i < 3; ++i) breaker.failed(kStart);
  breaker.probed(breaker.probe_at(), false);
  const auto closed = breaker.probe_at();
  breaker.probed(closed, true);
  breaker.succeeded(closed);
  for (int i = 0; i < 3; ++i) breaker.failed(closed);
  EXPECT_EQ(breaker.probe_at() - closed, seconds(1));
}

}  // namespace
}  // namespace hf::core
