// The scanner of `wire` against Boost.JSON: the same texts are valid, and read the same.
#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <optional>
#include <string>

#include "base/random.hpp"
#include "wire/json.hpp"

namespace hf::wire {
namespace {

namespace bj = boost::json;

/// nullopt where Boost stops for a reason of its own (it reads numbers, we only look at them).
std::optional<bool> boost_accepts(std::string_view text) {
  bj::parse_options options;
  options.max_depth = kJsonDepthMax;
  boost::system::error_code error;
  bj::parse(bj::string_view(text.data(), text.size()), error, {}, options);
  if (error == bj::error::exponent_overflow) return std::nullopt;
  return !error;
}

std::string random_text(Random& random) {
  static constexpr const char* kPieces[] = {"a", "\"", "\\", "\n", "\t", "\x01",
                                            "é", "日", "🎉", "/",  " ",  "u"};
  std::string text;
  for (auto n = random.below(6); n > 0; --n) text += kPieces[random.below(std::size(kPieces))];
  return text;
}

bj::value random_value(Random& random, int depth) {
  switch (random.below(depth > 3 ? 5 : 7)) {
    case 0: return nullptr;
    case 1: return random.chance(0.5);
    case 2: return static_cast<std::int64_t>(random.next());
    case 3: return bj::string(random_text(random));
    case 4: return static_cast<double>(random.below(1'000'000)) / 8;
    case 5: {
      bj::array array;
      for (auto n = random.below(5); n > 0; --n) array.push_back(random_value(random, depth + 1));
      return array;
    }
    default: {
      bj::object object;
      for (auto n = random.below(5); n > 0; --n) {
        object[random_text(random) + std::to_string(n)] = random_value(random, depth + 1);
      }
      return object;
    }
  }
}

/// Builds Boost's tree from what our reader pulls.
bj::value rebuild(JsonReader& json) {
  switch (json.peek()) {
    case JsonKind::kObject: {
      bj::object object;
      JsonKey key;
      json.enter_object();
      while (json.next_key(key)) {
        std::string name;
        EXPECT_TRUE(json_unescape(key.raw, name));
        object[name] = rebuild(json);
      }
      return object;
    }
    case JsonKind::kArray: {
      bj::array array;
      json.enter_array();
      while (json.next_element()) array.push_back(rebuild(json));
      return array;
    }
    case JsonKind::kString: {
      std::string text;
      EXPECT_TRUE(json.read_string(text));
      return bj::string(text);
    }
    default: return bj::parse(std::string(json.skip().of(json.document())));
  }
}

TEST(JsonProperty, ReadsWhatBoostWrites) {
  Random random(1);
  for (int i = 0; i < 3000; ++i) {
    const bj::value value = random_value(random, 0);
    const std::string text = bj::serialize(value);
    ASSERT_TRUE(json_valid(text)) << text;
    JsonReader json(text);
    const bj::value again = rebuild(json);
    ASSERT_TRUE(json.at_end()) << text;
    ASSERT_EQ(bj::serialize(again), text);
  }
}

TEST(JsonProperty, AgreesWithBoostOnBrokenTexts) {
  Random random(2);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = bj::serialize(random_value(random, 0));
    for (auto n = 1 + random.below(3); n > 0 && !text.empty(); --n) {
      const std::size_t at = random.below(text.size());
      switch (random.below(3)) {
        case 0: text.erase(at, 1); break;
        case 1: text[at] = "{}[],:\"\\0123e.-+ntu \x80\xed\xf0"[random.below(23)]; break;
        default: text.insert(at, 1, "{}[],:\"\\0 d8"[random.below(12)]); break;
      }
    }
    const auto accepted = boost_accepts(text);
    if (!accepted) continue;
    ASSERT_EQ(json_valid(text), *accepted) << text;
    refused += json_valid(text) ? 0 : 1;
  }
  EXPECT_GT(refused, 5000);
}

TEST(JsonProperty, EscapesWhatBoostReadsBack) {
  Random random(3);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = random_text(random);
    std::string quoted;
    json_append_string(quoted, text);
    ASSERT_EQ(bj::parse(quoted).as_string(), bj::string_view(text)) << quoted;
  }
}

}  // namespace
}  // namespace hf::wire
