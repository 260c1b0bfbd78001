#include "config/value.hpp"

#include <gtest/gtest.h>

#include "config/node.hpp"

namespace hf::config {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(ConfigValue, Durations) {
  EXPECT_EQ(parse_duration("5s"), Duration(seconds(5)));
  EXPECT_EQ(parse_duration("250ms"), Duration(milliseconds(250)));
  EXPECT_EQ(parse_duration("2m"), Duration(seconds(120)));
  EXPECT_EQ(parse_duration("1h"), Duration(seconds(3600)));
  EXPECT_EQ(parse_duration("0.25"), Duration(milliseconds(250)));
  EXPECT_EQ(parse_duration("1.5 s"), Duration(milliseconds(1500)));
  EXPECT_EQ(parse_duration("0"), Duration(0));
  for (const auto* bad : {"", "s", "-1s", "5 parsecs", "1e9", "5s5", "1.2.3", "99999999h", "inf"})
    EXPECT_FALSE(parse_duration(bad)) << bad;
  for (const auto* text : {"5s", "250ms", "2m", "1h", "90s", "0s", "7us", "3ns"})
    EXPECT_EQ(show_duration(*parse_duration(text)), text);
}

TEST(ConfigValue, Sizes) {
  EXPECT_EQ(parse_size("32MiB"), 32 * 1024 * 1024);
  EXPECT_EQ(parse_size("1GiB"), 1024 * 1024 * 1024);
  EXPECT_EQ(parse_size("10MB"), 10'000'000);
  EXPECT_EQ(parse_size("65536"), 65536);
  EXPECT_EQ(parse_size("1.5KiB"), 1536);
  for (const auto* bad : {"", "-1", "MiB", "5XB", "9999999TiB"})
    EXPECT_FALSE(parse_size(bad)) << bad;
  for (const auto* text : {"32MiB", "1GiB", "1000", "0", "64KiB"})
    EXPECT_EQ(show_size(*parse_size(text)), text);
}

TEST(ConfigValue, CountsNumbersAndSwitches) {
  EXPECT_EQ(parse_count("65,536"), 65536);
  EXPECT_EQ(parse_count("1_000"), 1000);
  EXPECT_EQ(parse_count("-3"), -3);
  for (const auto* bad : {"", "1.5", "x", "99999999999999999999"})
    EXPECT_FALSE(parse_count(bad)) << bad;
  EXPECT_EQ(parse_number("0.85"), 0.85);
  EXPECT_FALSE(parse_number("nan"));
  EXPECT_EQ(parse_switch("On"), true);
  EXPECT_EQ(parse_switch("0"), false);
  EXPECT_FALSE(parse_switch("maybe"));
}

TEST(ConfigYaml, KeepsTextKindsAndLines) {
  const auto root = parse_yaml("a: 5s\nb:\n  c: [x, 'y z']\n  d:\n    - 1\n# note\ne: ~\n");
  ASSERT_TRUE(root) << root.error().detail;
  ASSERT_EQ(root->members.size(), 3U);
  EXPECT_EQ(root->members[0].node.text, "5s");
  EXPECT_EQ(root->members[1].node.line, 2);
  const auto& b = root->members[1].node;
  EXPECT_EQ(b.members[0].node.items[1].text, "y z");
  EXPECT_EQ(b.members[1].node.line, 4);
  EXPECT_EQ(b.members[1].node.items[0].line, 5);
  EXPECT_EQ(root->members[2].node.text, "");
}

TEST(ConfigYaml, EmptyIsAnEmptyMap) {
  for (const auto* text : {"", "\n", "# nothing\n", "---\n", "~\n"}) {
    const auto root = parse_yaml(text);
    ASSERT_TRUE(root) << text << root.error().detail;
    EXPECT_EQ(root->kind, Node::Kind::kMap) << text;
    EXPECT_TRUE(root->members.empty());
  }
}

TEST(ConfigYaml, RefusesWhatWouldSurprise) {
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::string>>{
           {"a: 1\na: 2\n", "line 2: 'a' is given twice"},
           {"a: &x [1]\nb: *x\n", "line 2: aliases"},
           {"a: 1\n---\nb: 2\n", "more than one document"},
           {"a: [1\n", "line "},
           {"a: b: c\n", "line 1: "},
           {"\ta: 1\n", "line 1: "},
           {"[1, 2]: x\n", "line 1: "},
           {std::string(40, '['), "line 1: "}}) {
    const auto root = parse_yaml(text);
    ASSERT_FALSE(root) << text;
    EXPECT_NE(root.error().detail.find(words), std::string::npos) << root.error().detail;
  }
  EXPECT_FALSE(parse_yaml(std::string(2UL * 1024 * 1024, '#')));
}

}  // namespace
}  // namespace hf::config
