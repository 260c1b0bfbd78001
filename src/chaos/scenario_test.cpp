#include "chaos/scenario.hpp"

#include <gtest/gtest.h>

#include "chaos/scenario_parts.hpp"

namespace hf::chaos {
namespace {

constexpr const char* kSmall = R"(title: t
engines: {count: 2, flags: {itl-ms: 20}}
load:
  main: {clients: 9, endpoint: both, streamed: 80%, body: {n: null, stop: [a]}}
faults:
  - {at: 5 tokens, kill: engine-1}
  - at: +3s
    slow: [engine-1, engine-2]
    factor: 50
checks: {orphans: ">= 4", modes: [tokens], pause_p99: 2s, metrics: {x: ">= 1"}}
quick:
  load: {main: {clients: 3}}
)";

std::string problem_of(const std::string& text) {
  const auto scenario = parse_scenario(text, "chaos/s.yaml", false);
  return scenario ? "" : scenario.error().detail;
}

TEST(Scenario, IsReadInBothForms) {
  const auto quick = parse_scenario(kSmall, "chaos/worker_kill.yaml", false);
  ASSERT_TRUE(quick) << quick.error().detail;
  EXPECT_EQ(quick->name, "worker_kill");
  EXPECT_EQ(quick->load.at(0).clients, 3U);
  EXPECT_EQ(quick->load.at(0).streamed, 80);
  const auto whole = parse_scenario(kSmall, "chaos/worker_kill.yaml", true);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->load.at(0).clients, 9U);
  EXPECT_EQ(whole->load.at(0).endpoint, "both");
  EXPECT_TRUE(whole->load.at(0).body.at("n").is_null());
  ASSERT_EQ(whole->steps.size(), 3U);
  EXPECT_EQ(whole->steps[0].at.kind, Trigger::Kind::kTokens);
  EXPECT_EQ(whole->steps[1].at.time, std::chrono::seconds(3));
  EXPECT_EQ(whole->steps[2].target, "engine-2");
  EXPECT_EQ(whole->steps[2].parameters.at("factor"), 50);
  EXPECT_EQ(whole->checks.orphans->value, 4);
  EXPECT_EQ(whole->checks.times.at("pause_p99").value, 2000);
}

TEST(Scenario, ProblemsNameFileLineAndTheNearestKey) {
  EXPECT_EQ(problem_of("load: {a: {}}\nfaults: []\nchekcs: {}\n"),
            "chaos/s.yaml:3: unknown key chekcs; the nearest is checks");
  EXPECT_EQ(problem_of("load:\n  a:\n    client: 3\n"),
            "chaos/s.yaml:3: unknown key load.a.client; the nearest is clients");
  EXPECT_EQ(problem_of("load: {a: {}}\nfaults:\n  - {at: 2s, kil: engine-1}\n"),
            "chaos/s.yaml:3: faults: unknown action kil; the nearest is kill");
  EXPECT_NE(problem_of("load: {a: {}}\nfaults:\n  - {at: 2s, kill: engine-3}\n")
                .find("chaos/s.yaml:3: faults: kill: there is no 'engine-3'"),
            std::string::npos);
  EXPECT_NE(problem_of("load: {a: {}}\nfaults:\n  - {at: soon, kill: engine-1}\n")
                .find("'soon' is no moment"),
            std::string::npos);
  EXPECT_NE(problem_of("load: {a: {}}\nchecks: {orphans: many}\n").find("'many' is no limit"),
            std::string::npos);
  EXPECT_EQ(problem_of("title: x\n"), "chaos/s.yaml:1: there is no load");
  EXPECT_EQ(problem_of("a: *b\n").substr(0, 21), "chaos/s.yaml: line 1:");
}

TEST(Scenario, LinksAndNetworkFollowFromTheFaults) {
  const auto scenario = parse_scenario(
      "load: {a: {}}\nfaults: [{link_stall: engine-1}, {partition: engine-2}]\n", "s", false);
  ASSERT_TRUE(scenario) << scenario.error().detail;
  EXPECT_TRUE(scenario->links);
  EXPECT_TRUE(scenario->own_network);
}

TEST(Bound, HasAnOperatorAndAUnit) {
  EXPECT_EQ(parse_bound(">= 99.5%", Unit::kPercent, Bound::Op::kEqual)->value, 99.5);
  EXPECT_TRUE(parse_bound("<=2s", Unit::kMillis, Bound::Op::kEqual)->holds(2000));
  EXPECT_FALSE(parse_bound("2s", Unit::kMillis, Bound::Op::kAtMost)->holds(2001));
  EXPECT_TRUE(parse_bound("0", Unit::kCount, Bound::Op::kEqual)->holds(0));
  EXPECT_FALSE(parse_bound("x", Unit::kCount, Bound::Op::kEqual));
}

TEST(Trigger, IsAMomentOrACondition) {
  EXPECT_EQ(parse_trigger("1 ready")->kind, Trigger::Kind::kReady);
  EXPECT_EQ(parse_trigger("engine-1 idle")->target, "engine-1");
  EXPECT_EQ(parse_trigger("done")->kind, Trigger::Kind::kDone);
  EXPECT_EQ(parse_trigger("1.5s")->time, std::chrono::milliseconds(1500));
  EXPECT_FALSE(parse_trigger("5 apples"));
}

}  // namespace
}  // namespace hf::chaos
