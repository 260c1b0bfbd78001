// Requests that do not stream: assembled from a stream where their engine allows it.
#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

class AssembledAnswer : public testing::Test {
 protected:
  AssembledAnswer() {
    bench.spec.stream = false;
    for (auto& worker : bench.view.workers) worker.whole_known = {true, true};
  }
  Bench bench;
};

TEST_F(AssembledAnswer, IsAskedForAsAStreamAndEndsAsOneBody) {
  auto& machine = bench.start();
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first ids"}));
  bench.three_tokens();
  bench.token(1, {.ids = {24}, .text = "d", .count = 4, .finish = Finish::kLength});
  bench.event(1, EventKind::kUsage, 4);
  bench.event(1, EventKind::kDone);
  EXPECT_EQ(bench.log(),
            (Log{"forward 1", "forward 1", "forward 1", "forward 1", "forward 1", "complete"}));
  EXPECT_EQ(machine.sent_text(), "abcd");
}

TEST_F(AssembledAnswer, IsWrittenWholeByAnEngineWhoseBodiesAreNotKnown) {
  bench.view.workers[0].whole_known = {};
  bench.start();
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first whole"}));
  bench.machine().on_whole(bench.now, 1);
  EXPECT_EQ(bench.log(), (Log{"relay 1"}));
}

TEST_F(AssembledAnswer, GoesOnByIdsForTheCostOfOnePrefill) {
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(),
            (Log{"report 0 reset", "cancel 1", "open 2@1 tokens carry 21 22 23 max 7"}));
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .finish = Finish::kStop, .prompt = 6});
  bench.event(2, EventKind::kDone);
  EXPECT_EQ(bench.log(), (Log{"say d", "finish stop", "complete"}));
  EXPECT_EQ(bench.machine().sent_text(), "abcd");
}

TEST_F(AssembledAnswer, StartsAnewWhereItsIdsAreNotKnown) {
  bench.start();
  bench.three_tokens();
  bench.token(1, {.ids = {}, .text = "d", .count = 9});  // the ledger does not agree any more
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "discard", "open 2@1 restart ids"}));
  EXPECT_EQ(bench.machine().sent_text(), "");
  bench.token(2, {.ids = {21}, .text = "a", .count = 1, .finish = Finish::kStop});
  bench.event(2, EventKind::kDone);
  EXPECT_EQ(bench.log(), (Log{"forward 2", "complete"}));
  EXPECT_EQ(bench.machine().sent_text(), "a");
}

TEST_F(AssembledAnswer, EndsInOneErrorWhereNobodyIsLeft) {
  bench.start();
  bench.three_tokens();
  bench.set_state(1, WorkerState::kDead);
  bench.failed(1);
  bench.set_state(0, WorkerState::kDead);
  bench.run(seconds(120));
  const auto log = bench.log();
  EXPECT_EQ(log.back(), "fail 503 no_worker");
  EXPECT_TRUE(bench.machine().is_done());
}

// A model that thinks, say: only its engine knows how that looks in a whole body.
TEST_F(AssembledAnswer, IsAskedForWholeWhenItIsNoPlainText) {
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {22}, .text = "b", .count = 2, .plain = false});
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first ids", "forward 1", "cancel 1", "discard",
                              "open 2@0 restart whole"}));
  EXPECT_FALSE(bench.cells(0).may_assemble.load());
  bench.machine().on_whole(bench.now, 2);
  EXPECT_EQ(bench.log(), (Log{"relay 2"}));
}

TEST_F(AssembledAnswer, IsAskedForWholeWhereTheLimitCutACharacter) {
  bench.spec.drops_held_text = {true};
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.token(1, {.ids = {}, .text = "", .count = 5, .finish = Finish::kLength});
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "discard", "open 2@0 restart whole"}));
  EXPECT_TRUE(bench.cells(0).may_assemble.load());
}

// llama.cpp's chat counts in an event after the finish reason.
TEST_F(AssembledAnswer, WaitsForTheCountThatTellsWhetherSomethingIsHidden) {
  bench.spec.drops_held_text = {true};
  bench.start();
  bench.three_tokens();
  bench.token(1, {.ids = {}, .text = "", .count = -1, .finish = Finish::kLength});
  bench.log();
  bench.event(1, EventKind::kUsage, 5);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "discard", "open 2@0 restart whole"}));
}

TEST_F(AssembledAnswer, GoesOnWhereThatCountNeverCame) {
  bench.spec.drops_held_text = {true};
  bench.start();
  bench.three_tokens();
  bench.token(1, {.ids = {}, .text = "", .count = -1, .finish = Finish::kLength});
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(),
            (Log{"report 0 reset", "cancel 1", "open 2@1 tokens carry 21 22 23 max 7"}));
}

TEST_F(AssembledAnswer, IsAskedForWholeWhenOurFieldsAreRefused) {
  bench.start();
  bench.log();
  bench.machine().on_status(bench.now, 1, 400, {});
  EXPECT_EQ(bench.log(), (Log{"open 2@0 restart whole"}));
  bench.machine().on_status(bench.now, 2, 400, {});
  EXPECT_EQ(bench.log(), (Log{"relay 2"}));
}

TEST_F(AssembledAnswer, IsBounded) {
  bench.options.whole_bytes_max = 4;
  bench.start();
  bench.three_tokens();
  bench.token(1, {.ids = {24}, .text = "de", .count = 4});
  EXPECT_EQ(bench.log().back(), "fail 502 answer_too_large");
}

TEST_F(AssembledAnswer, AWholeHedgeMayWin) {
  bench.view.workers[1].whole_known = {};
  bench.start();
  bench.run(seconds(11));
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first ids", "open 2@1 restart whole"}));
  bench.machine().on_whole(bench.now, 2);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "relay 2"}));
}

}  // namespace
}  // namespace hf::core
