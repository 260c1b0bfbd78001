// Answers of several choices: each has an end of its own.
#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

class SeveralChoices : public testing::Test {
 protected:
  SeveralChoices() {
    bench.spec.choices = 2;
    bench.spec.tokens_allowed = {false};
  }
  // The first choice ends while the second one is being written.
  RequestMachine& one_ended() {
    auto& machine = bench.start();
    bench.token(1, {.ids = {}, .text = "a"});
    bench.token(1, {.ids = {}, .text = "x", .plain = false});
    bench.token(1, {.ids = {}, .text = "b", .finish = Finish::kStop});
    bench.log();
    return machine;
  }
  Bench bench;
};

TEST_F(SeveralChoices, EndWithTheLastOfThem) {
  auto& machine = one_ended();
  EXPECT_EQ(machine.state(), RequestMachine::State::kRunning);
  bench.token(1, {.ids = {}, .text = "y", .plain = false});
  bench.token(1, {.ids = {}, .text = "", .finish = Finish::kLength, .plain = false});
  bench.event(1, EventKind::kUsage, 4);
  bench.event(1, EventKind::kDone);
  EXPECT_EQ(bench.log(), (Log{"forward 1", "forward 1", "forward 1", "complete"}));
}

TEST_F(SeveralChoices, AreNoWholeAnswerWhereOneIsMissing) {
  one_ended();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "fail 502 upstream_failed"}));
}

TEST_F(SeveralChoices, AreNoWholeAnswerAtADoneThatComesEarly) {
  one_ended();
  bench.event(1, EventKind::kDone);
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

// A choice may end without a word: begun anew, it would end twice.
TEST_F(SeveralChoices, DoNotBeginAnewOnceOneHasEnded) {
  bench.start();
  bench.token(1, {.ids = {}, .text = "", .finish = Finish::kStop});
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

TEST_F(SeveralChoices, EndWithDoneWhereNobodyKnowsTheirNumber) {
  bench.spec.choices = 0;
  one_ended();
  bench.token(1, {.ids = {}, .text = "y", .plain = false});
  bench.event(1, EventKind::kUsage, 4);
  bench.event(1, EventKind::kDone);
  EXPECT_EQ(bench.log(), (Log{"forward 1", "forward 1", "complete"}));
}

TEST_F(SeveralChoices, OfUnknownNumberNeedTheirDone) {
  bench.spec.choices = 0;
  one_ended();
  bench.machine().on_end(bench.now, 1);
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

}  // namespace
}  // namespace hf::core
