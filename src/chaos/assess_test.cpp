// From evidence to a verdict, with doctored evidence.
#include "chaos/assess.hpp"

#include <gtest/gtest.h>

namespace hf::chaos {
namespace {

using std::chrono::milliseconds;

Instant at_ms(int ms) {
  return Instant{} + milliseconds(1000 + ms);
}

Transcript answer(const std::string& text) {
  Transcript t;
  t.status = 200;
  t.text = text;
  t.finish = "length";
  t.roles = 0;
  t.ids = {"x"};
  t.models = {"m"};
  t.created = {1};
  t.usage = Usage{1, 5, 6};
  t.done = t.clean = true;
  for (int i = 0; i < 5; ++i) t.ticks.push_back(at_ms(10 * i + (i >= 3 ? 200 : 0)));
  return t;
}

class Assess : public ::testing::Test {
 protected:
  Assess() {
    scenario_.engines.resize(2);
    scenario_.load.resize(1);
    scenario_.checks.orphans = Bound{Bound::Op::kAtLeast, 1, ">= 1"};
    for (int i = 0; i < 2; ++i) {
      Judged judged;
      judged.got = &got_[i];
      judged.want = &want_;
      judged.request_id = "chaos-" + std::to_string(i);
      judged.started_at = at_ms(-5);
      judged.ended_at = at_ms(300);
      evidence_.answers.push_back(judged);
    }
    evidence_.began = at_ms(-10);
    evidence_.addresses = {"h:1", "h:2"};
    evidence_.was_struck = {true, false};
    evidence_.strikes = {{"kill", "engine-1", at_ms(25)}};
    evidence_.access["chaos-0"] = {{"h:1", "h:2"}, {"tokens"}, {"reset"}, {210}};
    evidence_.access["chaos-1"] = {{"h:2"}, {}, {}, {}};
    result_.faults = {{"kill engine-1", "kill", "engine-1", 35, {}, true, "gone"}};
  }
  Verdict verdict() {
    assess(scenario_, evidence_, result_);
    return result_.verdict;
  }
  const CheckResult* check(const std::string& name) const {
    for (const auto& c : result_.checks)
      if (c.name == name) return &c;
    return nullptr;
  }

  Scenario scenario_;
  Evidence evidence_;
  ChaosResult result_;
  Transcript want_ = answer("abcde");
  Transcript got_[2] = {answer("abcde"), answer("abcde")};
};

TEST_F(Assess, PassesAndTellsWhoWroteWhat) {
  EXPECT_EQ(verdict(), Verdict::kPass);
  EXPECT_EQ(result_.figures.orphans, 1U);
  EXPECT_EQ(result_.figures.by_mode.at("tokens"), 1U);
  const auto& ticks = result_.streams.at(0).ticks;
  ASSERT_EQ(ticks.size(), 5U);
  EXPECT_EQ(ticks[2].engine, 0);
  EXPECT_EQ(ticks[3].engine, 1);
  EXPECT_EQ(result_.streams[1].ticks[0].engine, 1);
  EXPECT_DOUBLE_EQ(*result_.streams[0].pause_ms, 210);
  EXPECT_DOUBLE_EQ(result_.figures.pause_ms->max, 210);
}

TEST_F(Assess, AKilledEngineWritesNothingLater) {
  // A later gap is nearer to the pause that the frontend measured; the engine was long dead.
  got_[0].ticks = {at_ms(0), at_ms(20), at_ms(90), at_ms(600), at_ms(660)};
  evidence_.access["chaos-0"].pauses_ms = {60};
  verdict();
  const auto& ticks = result_.streams.at(0).ticks;
  EXPECT_EQ(ticks[1].engine, 0);
  EXPECT_EQ(ticks[2].engine, 1);
  EXPECT_EQ(ticks[4].engine, 1);
}

TEST_F(Assess, WaitingForTheEndAloneIsAPauseToo) {
  evidence_.answers[0].ended_at = at_ms(2500);
  verdict();
  const auto last = result_.streams.at(0).ticks.back().at_ms;
  EXPECT_DOUBLE_EQ(*result_.streams[0].pause_ms, result_.streams[0].end_ms - last);
  EXPECT_GT(*result_.streams[0].pause_ms, 2000);
}

TEST_F(Assess, OneWrongTokenFails) {
  got_[1].text = "abcdx";
  EXPECT_EQ(verdict(), Verdict::kFail);
  EXPECT_EQ(result_.figures.wrong_tokens, 1U);
  EXPECT_FALSE(check("wrong_tokens")->ok);
  EXPECT_NE(check("wrong_tokens")->detail.find("stream 1"), std::string::npos);
}

TEST_F(Assess, AnUnverifiedFaultIsVoidAndAWrongTokenStillFails) {
  result_.faults[0].verified = false;
  EXPECT_EQ(verdict(), Verdict::kVoid);
  result_ = {};
  result_.faults = {{"kill", "kill", "engine-1", 1, {}, false, "runs"}};
  got_[0].text = "abcd";
  EXPECT_EQ(verdict(), Verdict::kFail);
}

TEST_F(Assess, NobodyHitIsVoid) {
  evidence_.access["chaos-0"] = {{"h:2"}, {}, {}, {}};
  EXPECT_EQ(verdict(), Verdict::kVoid);
}

TEST_F(Assess, ALostStreamFails) {
  got_[0].done = got_[0].clean = false;
  got_[0].finish.clear();
  got_[0].broken = "reset";
  EXPECT_EQ(verdict(), Verdict::kFail);
  EXPECT_EQ(check("complete")->got, "1 of 2 = 50 %");
}

TEST_F(Assess, WhatStillRunsAtTheEndFails) {
  evidence_.left_over = "1 requests in engine-2";
  EXPECT_EQ(verdict(), Verdict::kFail);
}

TEST_F(Assess, AnotherModeFails) {
  scenario_.checks.modes = {"restart"};
  EXPECT_EQ(verdict(), Verdict::kFail);
  EXPECT_EQ(check("modes")->got, "tokens 1");
}

TEST_F(Assess, AnExpectedErrorMustHaveThatCode) {
  scenario_.load[0].expect = "no_worker";
  for (auto& got : got_) {
    got.text = "abc";
    got.done = got.clean = false;
    got.finish.clear();
    got.error = "no_worker";
  }
  EXPECT_EQ(verdict(), Verdict::kPass);
  result_ = {};
  got_[1].error = "internal";
  EXPECT_EQ(verdict(), Verdict::kFail);
}

TEST_F(Assess, OnlySessionsOfAStruckEngineMayMove) {
  scenario_.checks.sessions = true;
  scenario_.load[0].sessions = true;
  EXPECT_EQ(verdict(), Verdict::kPass);
  result_ = {};
  evidence_.was_struck = {false, true};
  EXPECT_EQ(verdict(), Verdict::kFail);
}

TEST(SumOf, AddsSeriesThatHaveTheLabels) {
  const std::map<std::string, double> series{
      {"a{x=\"1\",y=\"2\"}", 3}, {"a{x=\"1\",y=\"3\"}", 4}, {"ab", 100}, {"a{x=\"2\"}", 10}};
  EXPECT_EQ(sum_of(series, "a"), 17);
  EXPECT_EQ(sum_of(series, "a{x=\"1\"}"), 7);
  EXPECT_EQ(sum_of(series, "a{y=\"3\",x=\"1\"}"), 4);
  EXPECT_EQ(sum_of(series, "none"), 0);
}

}  // namespace
}  // namespace hf::chaos
