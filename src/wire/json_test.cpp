#include "wire/json.hpp"

#include <gtest/gtest.h>
#include <string>

namespace hf::wire {
namespace {

bool valid(std::string_view text) {
  return json_valid(text);
}

TEST(Json, AcceptsWhatRfc8259Allows) {
  for (const auto* text : {"null", " true ", "false", "0", "-0", "-0.0e+10", "12.5E3", "\"\"", "[]",
                           "{}", "[ ]", "{\t}", "[1,[2,{\"a\":null}],\"x\"]", "{\"a\":1,\"a\":2}",
                           R"("\u0041\ud83d\ude00\/\b")", "\"日本🎉\"", "\r\n[1 , 2]\n"}) {
    EXPECT_TRUE(valid(text)) << text;
  }
}

TEST(Json, RefusesEverythingElse) {
  for (const auto* text : {"",
                           " ",
                           "nul",
                           "nulll",
                           "True",
                           "01",
                           "-",
                           "1.",
                           ".5",
                           "1e",
                           "1e+",
                           "+1",
                           "0x1",
                           "NaN",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "[1",
                           "]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{a:1}",
                           "{\"a\":1,}",
                           "{,\"a\":1}",
                           "{\"a\" 1}",
                           "{\"a\":1]",
                           "[1}",
                           "\"a",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12G4\"",
                           "\"\x01\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\"",
                           "1 2",
                           "{} {}",
                           "\"\\\"",
                           "'a'",
                           "/**/1"}) {
    EXPECT_FALSE(valid(text)) << text;
  }
}

TEST(Json, RefusesBytesThatAreNoUtf8) {
  for (const auto* bytes :
       {"\"\x80\"", "\"\xC0\xAF\"", "\"\xE0\x80\xAF\"", "\"\xED\xA0\x80\"", "\"\xF4\x90\x80\x80\"",
        "\"\xF5\x80\x80\x80\"", "\"\xE6\x97\"", "\"\xC3\""}) {
    EXPECT_FALSE(valid(bytes));
  }
}

TEST(Json, GoesJustSoDeep) {
  const auto nested = [](std::size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_TRUE(valid(nested(kJsonDepthMax)));
  EXPECT_FALSE(valid(nested(kJsonDepthMax + 1)));
  std::string objects;
  for (std::size_t i = 0; i < kJsonDepthMax; ++i) objects += "{\"a\":";
  EXPECT_TRUE(valid(objects + "1" + std::string(kJsonDepthMax, '}')));
  EXPECT_FALSE(valid(std::string(1'000'000, '[')));
}

TEST(Json, TellsWhereMembersAre) {
  const std::string_view text = R"( {"a" : 1 , "b":{"c":[2,3]},"d":"x"} )";
  JsonReader json(text);
  JsonKey key;
  ASSERT_TRUE(json.enter_object());
  ASSERT_TRUE(json.next_key(key));
  EXPECT_EQ(key.raw, "a");
  EXPECT_EQ(json.skip().of(text), "1");
  ASSERT_TRUE(json.next_key(key));
  EXPECT_EQ(text.substr(key.begin, 3), "\"b\"");
  EXPECT_EQ(json.skip().of(text), R"({"c":[2,3]})");
  ASSERT_TRUE(json.next_key(key));
  std::string value;
  EXPECT_TRUE(json.read_string(value));
  EXPECT_EQ(value, "x");
  EXPECT_FALSE(json.next_key(key));
  EXPECT_TRUE(json.at_end());
}

TEST(Json, FailsOnceAndForAll) {
  JsonReader json("{\"a\":tru}");
  JsonKey key;
  json.enter_object();
  ASSERT_TRUE(json.next_key(key));
  json.skip();
  EXPECT_TRUE(json.failed());
  EXPECT_FALSE(json.next_key(key));
  EXPECT_FALSE(json.at_end());
  EXPECT_EQ(json.peek(), JsonKind::kBad);
}

/// Cuts the members whose names are in `names`.
std::string without(std::string_view text, std::string_view names) {
  JsonReader json(text);
  JsonKey key;
  std::string out;
  std::size_t at = 0;
  bool kept = false;
  json.enter_object();
  while (json.next_key(key)) {
    json.skip();
    if (names.find(key.raw) == std::string_view::npos) {
      kept = true;
      continue;
    }
    const JsonSpan cut = json_cut(text, key, json.offset(), kept);
    EXPECT_GE(cut.begin, at);
    out += text.substr(at, cut.begin - at);
    at = cut.end;
  }
  return out + std::string(text.substr(at));
}

TEST(Json, CutsEverySetOfMembersSoThatTheObjectStaysValid) {
  const std::string_view names = "abcde";
  for (const bool spaced : {false, true}) {
    const std::string text = spaced ? R"({ "a":1 , "b" : [2] ,"c":"3",  "d":{"x":4},"e":5 })"
                                    : R"({"a":1,"b":2,"c":3,"d":4,"e":5})";
    for (unsigned set = 0; set < 32; ++set) {
      std::string cut;
      for (unsigned i = 0; i < 5; ++i) {
        if ((set >> i) & 1) cut += names[i];
      }
      const std::string left = without(text, cut);
      EXPECT_TRUE(valid(left)) << left;
      for (const char name : names) {
        const bool there = left.find(std::string("\"") + name + "\"") != std::string::npos;
        EXPECT_EQ(there, cut.find(name) == std::string::npos) << left;
      }
    }
  }
}

TEST(Json, CutLeavesTheOtherBytesAlone) {
  EXPECT_EQ(without(R"({"a":1,"b":2,"c":3})", "b"), R"({"a":1,"c":3})");
  EXPECT_EQ(without(R"({"a":1,"b":2})", "a"), R"({"b":2})");
  EXPECT_EQ(without(R"({"a":1})", "a"), R"({})");
}

TEST(Json, UnescapesToUtf8) {
  std::string out = "+";
  EXPECT_TRUE(json_unescape(R"(a\n\"\\\/\u00e9\u65e5\ud83c\udf89\u0000z)", out));
  EXPECT_EQ(out, std::string("+a\n\"\\/é日🎉\0z", 1 + 5 + 2 + 3 + 4 + 2));
  for (const auto* bad : {"\\", "\\q", "\\u", "\\u00", "\\ud83c", "\\ud83cx", "\\udf89"}) {
    std::string text;
    EXPECT_FALSE(json_unescape(bad, text)) << bad;
  }
}

TEST(Json, EscapesWhatMustBe) {
  std::string out;
  json_append_string(out, std::string_view("a\"\\\n\r\t\b\f\x01\x1f/é🎉\0", 18));
  EXPECT_TRUE(valid(out)) << out;
  EXPECT_EQ(out, "\"a\\\"\\\\\\n\\r\\t\\b\\f\\u0001\\u001f/é🎉\\u0000\"");
}

TEST(Json, WritesValidJsonWhateverComesIn) {
  std::string out;
  json_append_string(out,
                     "a\xFF"
                     "b\xE6\x97"
                     "c\xED\xA0\x80"
                     "d");
  EXPECT_TRUE(valid(out));
  EXPECT_EQ(out, "\"a\uFFFDb\uFFFD\uFFFDc\uFFFD\uFFFD\uFFFDd\"");
}

TEST(Json, ReadsIntegersStrictly) {
  std::int64_t value = 7;
  EXPECT_TRUE(json_int("-9223372036854775808", value));
  EXPECT_EQ(value, INT64_MIN);
  for (const auto* bad : {"9223372036854775808", "1.0", "1e3", "", "-", "null", "\"1\"", " 1"}) {
    EXPECT_FALSE(json_int(bad, value)) << bad;
  }
  JsonReader fraction("1.5");
  EXPECT_FALSE(fraction.read_int(value));
  EXPECT_TRUE(fraction.failed());
}

TEST(Json, ReadsListsOfIds) {
  std::vector<std::int32_t> ids;
  JsonReader good("[1, 2,49151]");
  EXPECT_TRUE(json_read_ints(good, ids));
  EXPECT_EQ(ids, (std::vector<std::int32_t>{1, 2, 49151}));
  for (const auto* bad : {"[1,\"2\"]", "[1.5]", "[2147483648]", "{}", "[1,", "[[1]]", "[null]"}) {
    JsonReader json(bad);
    std::vector<std::int32_t> none;
    EXPECT_FALSE(json_read_ints(json, none)) << bad;
  }
  std::string out;
  json_append_ints(out, ids.data(), ids.size());
  EXPECT_EQ(out, "[1,2,49151]");
}

TEST(Json, ReadsBools) {
  bool value = false;
  JsonReader yes("true");
  EXPECT_TRUE(yes.read_bool(value));
  EXPECT_TRUE(value);
  JsonReader no("0");
  EXPECT_FALSE(no.read_bool(value));
}

}  // namespace
}  // namespace hf::wire
