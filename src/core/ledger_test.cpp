#include "core/ledger.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace hf::core {
namespace {

using Ids = std::vector<TokenId>;

void add(Ledger& ledger, const Ids& ids, std::string_view text, std::int64_t count,
         Finish finish = Finish::kNone, std::size_t base = 0) {
  UpstreamEvent event;
  event.kind = EventKind::kTokens;
  event.ids = ids;
  event.text = text;
  event.completion_tokens = count;
  event.finish = finish;
  ledger.add(event, base);
}

TEST(Ledger, KeepsIdsThatTheCountProves) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {6, 7}, "b", 3);
  EXPECT_TRUE(ledger.intact());
  EXPECT_EQ(ledger.ids(), (Ids{5, 6, 7}));
  EXPECT_TRUE(ledger.gaps().empty());
}

TEST(Ledger, CountsFromWhereAnAttemptBegan) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {6}, "b", 1, Finish::kNone, 1);
  EXPECT_TRUE(ledger.intact());
  EXPECT_EQ(ledger.ids(), (Ids{5, 6}));
}

TEST(Ledger, BreaksWithoutACount) {
  Ledger ledger;
  add(ledger, {5}, "a", -1);
  EXPECT_FALSE(ledger.intact());
}

TEST(Ledger, BreaksWhenTheCountIsBehindItsIds) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {6}, "b", 1);
  EXPECT_FALSE(ledger.intact());
}

TEST(Ledger, BreaksWhenIdsAreMissingInAShapeThatCannotBeFilled) {
  Ledger without_id;
  add(without_id, {}, "ab", 2);
  EXPECT_FALSE(without_id.intact());
  Ledger with_several;
  add(with_several, {5, 6}, "abc", 3);
  EXPECT_FALSE(with_several.intact());
}

TEST(Ledger, StaysBroken) {
  Ledger ledger;
  add(ledger, {5}, "a", -1);
  add(ledger, {6}, "b", 1);
  EXPECT_FALSE(ledger.intact());
  EXPECT_EQ(ledger.size(), 0U);
  ledger.clear();
  EXPECT_TRUE(ledger.intact());
}

TEST(Ledger, IgnoresEventsWithNothingNew) {
  Ledger ledger;
  add(ledger, {}, "", -1);
  add(ledger, {}, "", 7, Finish::kStop);
  EXPECT_TRUE(ledger.intact());
  EXPECT_EQ(ledger.size(), 0U);
}

TEST(Ledger, WhatIsMissingAtTheVeryEndDoesNotMatter) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {}, "bc", 3, Finish::kLength);
  EXPECT_TRUE(ledger.intact());
}

TEST(Ledger, NotesAGapInsideACharacter) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {9}, "\xE3\x81\xAB", 4);
  ASSERT_EQ(ledger.gaps().size(), 1U);
  EXPECT_EQ(ledger.gaps()[0].first, 1U);
  EXPECT_EQ(ledger.gaps()[0].count, 3U);
  EXPECT_EQ(ledger.gaps()[0].text, "\xE3\x81\xAB");
  EXPECT_EQ(ledger.ids(), (Ids{5, kUnknownToken, kUnknownToken, 9}));
  EXPECT_TRUE(ledger.fill({5, 7, 8, 9}));
  EXPECT_EQ(ledger.ids(), (Ids{5, 7, 8, 9}));
  EXPECT_TRUE(ledger.gaps().empty());
}

TEST(Ledger, AGapTakesInWhatWasHeldBackBeforeIt) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {6}, "", 2);  // " light", held back for a stop string
  add(ledger, {9}, " light\xE3\x81\xAB", 4);
  ASSERT_EQ(ledger.gaps().size(), 1U);
  EXPECT_EQ(ledger.gaps()[0].first, 1U);
  EXPECT_EQ(ledger.gaps()[0].count, 3U);
  EXPECT_EQ(ledger.ids(), (Ids{5, 6, kUnknownToken, 9}));
}

TEST(Ledger, AnUntoldTailWaitsForItsText) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {9}, "", 3);  // a character was completed, and held back
  EXPECT_TRUE(ledger.intact());
  EXPECT_TRUE(ledger.has_untold_tail());
  EXPECT_TRUE(ledger.gaps().empty());
  add(ledger, {10}, "\xD0\xB2 w", 4);
  EXPECT_FALSE(ledger.has_untold_tail());
  ASSERT_EQ(ledger.gaps().size(), 1U);
  EXPECT_EQ(ledger.gaps()[0].first, 1U);
  EXPECT_EQ(ledger.gaps()[0].count, 3U);
}

TEST(Ledger, AnUntoldTailCanBeDropped) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {6}, "", 2);
  add(ledger, {9}, "", 4);
  ledger.drop_untold_tail();
  EXPECT_EQ(ledger.ids(), (Ids{5}));
  EXPECT_FALSE(ledger.has_untold_tail());
  ledger.drop_untold_tail();
  EXPECT_EQ(ledger.size(), 1U);
}

TEST(Ledger, BelievesNoFillThatContradictsIt) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {9}, "\xE3\x81\xAB", 3);
  EXPECT_FALSE(ledger.fill({5, 7}));
  EXPECT_FALSE(ledger.fill({6, 7, 9}));
  EXPECT_FALSE(ledger.fill({5, 7, 8}));
  EXPECT_FALSE(ledger.fill({5, kUnknownToken, 9}));
  EXPECT_EQ(ledger.gaps().size(), 1U);
}

TEST(Ledger, ForgetsGapsThatAreCutOff) {
  Ledger ledger;
  add(ledger, {5}, "a", 1);
  add(ledger, {9}, "\xE3\x81\xAB", 3);
  ledger.truncate(1);
  EXPECT_TRUE(ledger.gaps().empty());
  EXPECT_EQ(ledger.ids(), (Ids{5}));
}

TEST(Ledger, KnowsWhenTextMayBeBehindItsIds) {
  Ledger ledger;
  EXPECT_TRUE(ledger.text_in_sync());
  add(ledger, {5}, "a", 1);
  EXPECT_TRUE(ledger.text_in_sync());
  add(ledger, {6}, "", 2);
  EXPECT_FALSE(ledger.text_in_sync());
  add(ledger, {7}, "bc", 3);
  EXPECT_TRUE(ledger.text_in_sync());
  add(ledger, {8, 9}, "de", 5);  // of the two, the last may have added nothing
  EXPECT_FALSE(ledger.text_in_sync());
}

// Any stream of one-id events with honest counts is kept whole; one lost or doubled id is noticed.
TEST(Ledger, NoticesAnyLostOrDoubledId) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    const auto events = 2 + random.below(20);
    const auto odd_one = random.below(events - 1);
    const auto mistake = random.below(3);  // none, lost, doubled
    Ledger ledger;
    for (std::uint64_t i = 0; i < events; ++i) {
      Ids ids = {static_cast<TokenId>(i)};
      if (i == odd_one && mistake == 1) ids.clear();
      if (i == odd_one && mistake == 2) ids.push_back(ids[0]);
      add(ledger, ids, "x", static_cast<std::int64_t>(i + 1));
    }
    EXPECT_EQ(ledger.intact(), mistake == 0) << seed;
    EXPECT_TRUE(ledger.gaps().empty()) << seed;
  }
}

}  // namespace
}  // namespace hf::core
