#include "simulator/vocabulary.hpp"

#include <gtest/gtest.h>
#include <set>

#include "simulator/token_model.hpp"

namespace hf::simulator {
namespace {

const Vocabulary& words() {
  return Vocabulary::standard();
}

std::vector<TokenId> generate(std::string_view prompt, int count, std::uint32_t odd_every = 0) {
  const TokenModel model(words(), 0, odd_every);
  TokenState state = model.start();
  model.push(state, words().tokenize(prompt, true));
  std::vector<TokenId> ids;
  for (int i = 0; i < count; ++i) {
    ids.push_back(model.next(state, 0, true));
    model.push(state, ids.back());
  }
  return ids;
}

TEST(Vocabulary, IsSmallAndEveryPieceIsFoundUnderItsId) {
  EXPECT_LT(words().size(), 2000);
  EXPECT_GT(words().size(), 256 + 300);
  for (TokenId id = kSpecialCount; id < words().size(); ++id) {
    EXPECT_EQ(words().find(words().bytes(id)), id);
  }
}

TEST(Vocabulary, TextSurvivesTheWayToIdsAndBack) {
  for (const std::string_view text : {"Once upon a time, there was a fox.", "🎉🚀 日本語 привет é",
                                      "<|im_end|> a\n\n\t\x01", ""}) {
    EXPECT_EQ(words().detokenize(words().tokenize(text, false)), text);
    EXPECT_EQ(words().detokenize(words().tokenize(text, true), true), text);
  }
}

TEST(Vocabulary, SpecialNamesAreIdsOnlyWhenParsed) {
  EXPECT_EQ(words().tokenize("<|im_start|><|im_end|>", true),
            (std::vector<TokenId>{kImStart, kImEnd}));
  EXPECT_GT(words().tokenize("<|im_end|>", false).size(), 1U);
  EXPECT_EQ(words().detokenize(std::vector<TokenId>{kImStart, words().byte('a')}), "a");
}

TEST(Vocabulary, BosIsPutInFrontOnce) {
  EXPECT_EQ(words().tokenize("", true, true), (std::vector<TokenId>{kBos}));
  EXPECT_EQ(words().tokenize("<|bos|>", true, true), (std::vector<TokenId>{kBos}));
}

TEST(Vocabulary, BrokenCharactersBecomeReplacementCharacters) {
  const std::vector<TokenId> half{words().byte(0xF0), words().byte(0x9F)};
  EXPECT_EQ(words().detokenize(half), "\xEF\xBF\xBD");
  const std::vector<TokenId> cut{words().byte(0xF0), words().byte('a'), words().byte(0x80)};
  EXPECT_EQ(words().detokenize(cut),
            "\xEF\xBF\xBD"
            "a\xEF\xBF\xBD");
}

TEST(Vocabulary, OneTextHasSeveralReadings) {
  const TokenId whole = words().find(" the");
  const TokenId head = words().find(" t");
  const TokenId tail = words().find("he");
  ASSERT_GE(whole, 0);
  ASSERT_GE(head, 0);
  ASSERT_GE(tail, 0);
  EXPECT_EQ(words().detokenize(std::vector<TokenId>{head, tail}),
            words().detokenize(std::vector<TokenId>{whole}));
  EXPECT_EQ(words().tokenize(" the", true), (std::vector<TokenId>{whole}));
}

TEST(Vocabulary, AnotherVariantHasTheSamePiecesUnderOtherIds) {
  const Vocabulary other(7);
  EXPECT_EQ(other.size(), words().size());
  EXPECT_NE(other.tokenize("Once upon a time", true), words().tokenize("Once upon a time", true));
  EXPECT_EQ(other.detokenize(other.tokenize("日本 fox", true)), "日本 fox");
  EXPECT_EQ(other.tokenize("<|im_end|>", true), (std::vector<TokenId>{kImEnd}));
}

TEST(TokenModel, TokenisingWhatWasGeneratedGivesOtherIdsThatGoOnDifferently) {
  int different = 0, continued_differently = 0;
  for (int i = 0; i < 50; ++i) {
    const std::string prompt = "story " + std::to_string(i);
    const auto ids = generate(prompt, 24);
    std::string text = prompt + words().detokenize(ids);
    const auto read = words().tokenize(text, true);
    auto real = words().tokenize(prompt, true);
    real.insert(real.end(), ids.begin(), ids.end());
    if (read == real) continue;
    ++different;
    const auto more = generate(prompt, 48);
    if (generate(text, 24) != std::vector<TokenId>(more.begin() + 24, more.end())) {
      ++continued_differently;
    }
  }
  EXPECT_GE(different, 40);
  EXPECT_EQ(continued_differently, different);
}

TEST(TokenModel, HalfCharactersAreCompleted) {
  const TokenModel model(words(), 0);
  int characters = 0;
  for (int i = 0; i < 20; ++i) {
    const auto ids = generate("prompt " + std::to_string(i), 300);
    Utf8Decoder decoder;
    std::string text;
    for (const TokenId id : ids) {
      decoder.push(words().bytes(id), text);
      characters += decoder.pending() ? 1 : 0;
    }
    EXPECT_EQ(text.find("\xEF\xBF\xBD"), std::string::npos);
  }
  EXPECT_GT(characters, 200);
}

TEST(TokenModel, CharactersAreSplitAsTheTokenizerSplitsThemUnlessAskedOtherwise) {
  const auto count_odd = [](std::uint32_t odd_every) {
    int odd = 0;
    const auto ids = generate("characters", 3000, odd_every);
    std::vector<TokenId> open;
    Utf8Decoder decoder;
    for (const TokenId id : ids) {
      std::string text;
      decoder.push(words().bytes(id), text);
      open.push_back(id);
      if (decoder.pending()) continue;
      std::string whole = words().detokenize(open);
      if (open.size() > 1 && words().tokenize(whole, true) != open) ++odd;
      open.clear();
    }
    return odd;
  };
  EXPECT_EQ(count_odd(0), 0);
  EXPECT_GT(count_odd(10), 50);
}

TEST(TokenModel, EndsAboutAsOftenAsAsked) {
  const TokenModel model(words(), 100);
  TokenState state = model.start();
  int ends = 0;
  for (int i = 0; i < 20'000; ++i) {
    const TokenId id = model.next(state, 0, true);
    EXPECT_TRUE(words().valid(id));
    if (id == kImEnd) {
      ++ends;
      EXPECT_NE(model.next(state, 0, false), kImEnd);
    }
    model.push(state, id);
  }
  EXPECT_GT(ends, 80);
  EXPECT_LT(ends, 250);
}

TEST(TokenModel, NoiseChangesTheChoiceAndIsRepeatable) {
  const TokenModel model(words(), 0);
  TokenState state = model.start();
  model.push(state, words().tokenize("x", true));
  std::set<TokenId> seen;
  for (std::uint64_t noise = 1; noise < 200; ++noise) {
    const TokenId id = model.next(state, noise, true);
    EXPECT_EQ(id, model.next(state, noise, true));
    seen.insert(id);
  }
  EXPECT_GT(seen.size(), 50U);
}

}  // namespace
}  // namespace hf::simulator
