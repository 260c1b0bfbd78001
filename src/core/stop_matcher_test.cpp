#include "core/stop_matcher.hpp"

#include <algorithm>
#include <gtest/gtest.h>

#include "base/random.hpp"

namespace hf::core {
namespace {

TEST(StopMatcher, PassesTextThatCannotBecomeAStop) {
  StopMatcher matcher({"xyz"});
  EXPECT_EQ(matcher.push("abc").text, "abc");
  EXPECT_FALSE(matcher.holds());
}

TEST(StopMatcher, HoldsBackWhatMayBecomeOne) {
  StopMatcher matcher({"xyz"});
  EXPECT_EQ(matcher.push("abxy").text, "ab");
  EXPECT_TRUE(matcher.holds());
  EXPECT_EQ(matcher.push("a").text, "xya");
}

TEST(StopMatcher, MayHoldBackEverythingUntilItIsClear) {
  StopMatcher matcher({"xyz"});
  matcher.hold_all(true);
  EXPECT_EQ(matcher.push("abx").text, "");
  EXPECT_EQ(matcher.push("y").text, "");
  EXPECT_EQ(matcher.push("c").text, "abxyc");
  EXPECT_EQ(matcher.push("d").text, "d");
  matcher.push("ex");
  const auto out = matcher.push("yz");
  EXPECT_TRUE(out.stopped);
  EXPECT_EQ(out.text, "e");
}

TEST(StopMatcher, FindsOneAcrossPieces) {
  StopMatcher matcher({"xyz"});
  matcher.push("ax");
  matcher.push("y");
  const auto out = matcher.push("zb");
  EXPECT_TRUE(out.stopped);
  EXPECT_EQ(out.stop, "xyz");
  EXPECT_EQ(out.text, "");
  EXPECT_FALSE(matcher.holds());
}

TEST(StopMatcher, TakesTheFirstOfSeveral) {
  StopMatcher matcher({"later", "now"});
  const auto out = matcher.push("do it now or later");
  EXPECT_TRUE(out.stopped);
  EXPECT_EQ(out.stop, "now");
  EXPECT_EQ(out.text, "do it ");
}

TEST(StopMatcher, GivesBackTheRestAtTheEnd) {
  StopMatcher matcher({"xyz"});
  matcher.push("ax");
  EXPECT_EQ(matcher.flush(), "x");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, AStopBeforeItsTimeIsPlainText) {
  StopMatcher matcher({"xyz"});
  EXPECT_EQ(matcher.push("axyzb", false).text, "axyzb");
  EXPECT_EQ(matcher.push("xy", false).text, "");
  const auto out = matcher.push("z");  // it ends in what counts
  EXPECT_TRUE(out.stopped);
}

TEST(StopMatcher, FindsOneThatTheEnginesOwnStopHides) {
  StopMatcher matcher({"e fore"});
  matcher.push("she fo");
  EXPECT_EQ(matcher.push("r").text, "");  // the engine wrote "re fore" and cut it before its stop
  const auto out = matcher.push_stop(1);
  EXPECT_TRUE(out.stopped);
  EXPECT_EQ(out.text, "");
  EXPECT_FALSE(matcher.holds());

  matcher.push("she f");
  EXPECT_FALSE(matcher.push_stop(0).stopped);
  EXPECT_EQ(matcher.flush(), "e f");
}

TEST(StopMatcher, TextOfTheEngineItselfHidesNoEarlierStop) {
  StopMatcher matcher({"abab", "ba"});
  matcher.push("x");
  EXPECT_EQ(matcher.push("ab").text, "");
  // What is held is all its own: with "abab" behind it the engine had stopped sooner.
  EXPECT_FALSE(matcher.push_stop(2).stopped);
  // Of "ab" the "a" is older: "abab" may begin there, unless the engine stopped at "ba".
  EXPECT_FALSE(matcher.push_stop(1, "ba").stopped);
  EXPECT_TRUE(matcher.push_stop(1).stopped);
}

TEST(StopMatcher, EmptyStopsAreNone) {
  StopMatcher matcher({""});
  EXPECT_EQ(matcher.push("abc").text, "abc");
}

// However the text is cut, the outcome is that of the whole text.
TEST(StopMatcher, DoesNotDependOnHowTextIsCut) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Random random(seed);
    std::string text;
    for (std::uint64_t i = 0; i < 30; ++i) text += static_cast<char>('a' + random.below(3));
    std::string stop;
    for (std::uint64_t i = 0; i <= random.below(4); ++i)
      stop += static_cast<char>('a' + random.below(3));
    StopMatcher matcher({stop});
    std::string got;
    bool stopped = false;
    for (std::size_t at = 0; at < text.size() && !stopped;) {
      const auto size = std::min<std::size_t>(1 + random.below(5), text.size() - at);
      const auto out = matcher.push(std::string_view(text).substr(at, size));
      got += out.text;
      stopped = out.stopped;
      at += size;
    }
    if (!stopped) got += matcher.flush();
    const auto where = text.find(stop);
    EXPECT_EQ(stopped, where != std::string::npos) << seed;
    EXPECT_EQ(got, text.substr(0, where)) << seed;
  }
}

}  // namespace
}  // namespace hf::core
