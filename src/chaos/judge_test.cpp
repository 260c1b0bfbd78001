// The judge must be able to fail: each test doctors one thing of a right answer.
#include "chaos/judge.hpp"

#include <gtest/gtest.h>

namespace hf::chaos {
namespace {

constexpr JudgeOptions kStrict{};

Transcript right_answer() {
  Transcript t;
  t.status = 200;
  t.text = "the sea and the ship";
  t.finish = "length";
  t.roles = 1;
  t.ids = {"cmpl-1"};
  t.models = {"m"};
  t.created = {1000};
  t.usage = Usage{5, 6, 11};
  t.done = true;
  t.clean = true;
  return t;
}

std::string outcome(const Transcript& got) {
  return judge(got, right_answer(), kStrict).outcome;
}

/// As when the connection broke after some text.
Transcript cut_answer() {
  auto t = right_answer();
  t.text = "the sea";
  t.finish.clear();
  t.usage.reset();
  t.done = t.clean = false;
  t.broken = "Connection reset by peer";
  return t;
}

TEST(Judge, AnEqualAnswerIsComplete) {
  auto got = right_answer();
  got.ids = {"another-id"};
  got.created = {2000};
  EXPECT_EQ(outcome(got), "complete");
}

TEST(Judge, EveryDoctoredTextIsWrong) {
  for (const char* text :
       {"", "the sea and the shi", "the sea and the ship.", "the sea and teh ship",
        "the sea the sea and the ship", "the and the ship"}) {
    auto got = right_answer();
    got.text = text;
    EXPECT_EQ(outcome(got), "wrong") << text;
  }
}

TEST(Judge, EverythingElseThatAClientSeesCounts) {
  const auto doctored = [](auto change) {
    auto got = right_answer();
    change(got);
    return outcome(got);
  };
  EXPECT_EQ(doctored([](auto& t) { t.finish = "stop"; }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.finish.clear(); }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.roles = 2; }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.usage = Usage{5, 5, 10}; }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.usage.reset(); }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.done = false; }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.clean = false; }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.ids = {"a", "b"}; }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.models = {"other"}; }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.created = {1, 2}; }), "wrong");
  EXPECT_EQ(doctored([](auto& t) { t.problems = {"an event after [DONE]"}; }), "wrong");
}

TEST(Judge, AShortAnswerThatLooksWholeIsWrongAndACutOneIsCut) {
  EXPECT_EQ(outcome(cut_answer()), "cut");
  auto got = cut_answer();
  got.clean = true;
  got.broken.clear();
  EXPECT_EQ(outcome(got), "wrong");
  got = cut_answer();
  got.done = true;
  EXPECT_EQ(outcome(got), "wrong");
  got = cut_answer();
  got.text = "the see";
  EXPECT_EQ(outcome(got), "wrong");
}

TEST(Judge, AnErrorIsOneOnlyIfItsTextIsAPrefixAndItDoesNotLookWhole) {
  auto got = cut_answer();
  got.error = "no_worker";
  EXPECT_EQ(outcome(got), "error");
  EXPECT_EQ(judge(got, right_answer(), kStrict).detail, "no_worker");
  got.text = "the sea!";
  EXPECT_EQ(outcome(got), "wrong");
  got = cut_answer();
  got.error = "no_worker";
  got.done = true;
  EXPECT_EQ(outcome(got), "wrong");
}

TEST(Judge, ErrorStatusesAreRefusals) {
  Transcript got;
  got.broken = "cannot connect";
  EXPECT_EQ(outcome(got), "refused");
  got = {};
  got.status = 503;
  got.error = "no_worker";
  EXPECT_EQ(outcome(got), "refused");
}

TEST(Judge, WhoLeftMayHaveHadAPrefixAndNothingElse) {
  auto got = cut_answer();
  got.left = true;
  EXPECT_EQ(outcome(got), "client_gone");
  got.text = "the ship";
  EXPECT_EQ(outcome(got), "wrong");
}

TEST(Judge, WhatAnOperatorStoppedIsWholeInItself) {
  auto got = right_answer();
  got.cancelled = "stop";
  got.text = "the sea";
  got.finish = "stop";
  EXPECT_EQ(outcome(got), "stopped");
  got.text = "the sex";
  EXPECT_EQ(outcome(got), "wrong");
  got.text = "the sea";
  got.done = false;
  EXPECT_EQ(outcome(got), "cut");
}

TEST(Judge, WithoutARightAnswerNothingIsRight) {
  EXPECT_EQ(judge(right_answer(), Transcript{}, kStrict).outcome, "wrong");
  EXPECT_EQ(judge(right_answer(), cut_answer(), kStrict).outcome, "wrong");
  EXPECT_EQ(judge(cut_answer(), cut_answer(), kStrict).outcome, "wrong");
}

TEST(BodyTaker, ReadsAStreamSplitAnywhere) {
  const std::string stream =
      "data: {\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":"
      "{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n"
      ": waiting\n\n"
      "data: {\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":"
      "{\"content\":\"sea\"},\"finish_reason\":null}]}\n\n"
      "data: {\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},"
      "\"finish_reason\":\"stop\"}]}\n\n"
      "data: {\"id\":\"a\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":"
      "{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n"
      "data: [DONE]\n\n";
  for (std::size_t step = 1; step < 40; ++step) {
    Transcript t;
    BodyTaker taker(t);
    for (std::size_t at = 0; at < stream.size(); at += step)
      taker.take(std::string_view(stream).substr(at, step), Instant{});
    taker.end();
    EXPECT_EQ(t.text, "sea");
    EXPECT_EQ(t.finish, "stop");
    EXPECT_EQ(t.roles, 1U);
    EXPECT_EQ(t.usage, (Usage{1, 2, 3}));
    EXPECT_TRUE(t.done && t.clean && t.problems.empty());
    EXPECT_EQ(t.ticks.size(), 1U);
  }
}

TEST(BodyTaker, TellsWhatNoClientMayBeSent) {
  const auto problems_of = [](std::string_view bytes) {
    Transcript t;
    BodyTaker taker(t);
    taker.take(bytes, Instant{});
    taker.end();
    return t.problems.size();
  };
  EXPECT_EQ(problems_of("data: [DONE]\n\ndata: {\"choices\":[]}\n\n"), 1U);
  EXPECT_EQ(problems_of("data: {\"choi\n\n"), 1U);
  EXPECT_EQ(problems_of("data: {\"choices\":[]}"), 1U);
  EXPECT_EQ(problems_of("data: {\"x\":1}\n\n"), 1U);
}

}  // namespace
}  // namespace hf::chaos
