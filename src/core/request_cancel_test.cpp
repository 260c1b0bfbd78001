#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

TEST(Cancel, StopKeepsWhatWasProduced) {
  Bench bench;
  bench.spec.include_usage = true;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.log();
  machine.on_cancel(bench.now, CancelMode::kStop);
  EXPECT_EQ(bench.log(), (Log{"finish stop", "cancel 1", "usage 3+3", "complete"}));
  EXPECT_TRUE(machine.is_done());
  EXPECT_EQ(machine.deadline(), kNever);
}

TEST(Cancel, KillIsOneClearError) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.log();
  machine.on_cancel(bench.now, CancelMode::kKill);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "fail 410 cancelled"}));
  EXPECT_TRUE(machine.is_done());
  EXPECT_TRUE(machine.record().migrations.empty());
}

TEST(Cancel, InTheQueueThereIsNothingToKeep) {
  for (const auto mode : {CancelMode::kStop, CancelMode::kKill}) {
    Bench bench;
    for (auto& worker : bench.view.workers) worker.state = WorkerState::kDead;
    auto& machine = bench.start();
    EXPECT_EQ(machine.phase(), "queue");
    machine.on_cancel(bench.now, mode);
    EXPECT_EQ(bench.log(), (Log{"fail 410 cancelled"}));
  }
}

TEST(Cancel, InPrefillTheAttemptIsClosed) {
  Bench bench;
  auto& machine = bench.start();
  bench.log();
  EXPECT_EQ(machine.phase(), "prefill");
  machine.on_cancel(bench.now, CancelMode::kStop);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "fail 410 cancelled"}));
}

TEST(Cancel, AWholeAnswerHasNoPartToKeep) {
  Bench bench;
  bench.spec.stream = false;
  auto& machine = bench.start();
  bench.log();
  machine.on_cancel(bench.now, CancelMode::kStop);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "fail 410 cancelled"}));
}

TEST(Cancel, AStreamThatWaitsForAWorkerIsStoppedThere) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  for (auto& worker : bench.view.workers) worker.state = WorkerState::kDead;
  bench.failed(1);
  bench.log();
  EXPECT_EQ(machine.phase(), "resume");
  machine.on_cancel(bench.now, CancelMode::kStop);
  EXPECT_EQ(bench.log(), (Log{"finish stop", "complete"}));
  EXPECT_TRUE(machine.record().migrations.empty());
}

TEST(Cancel, AQuestionUnderWayIsForgotten) {
  Bench bench;
  bench.spec.stop = {"zz"};
  auto& machine = bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.log();
  machine.on_cancel(bench.now, CancelMode::kStop);
  EXPECT_EQ(bench.log(), (Log{"finish stop", "complete"}));
  bench.answer_text("abc");
  EXPECT_EQ(bench.log(), Log{});
}

TEST(Cancel, AHedgeGoesToo) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.run(seconds(6));
  bench.log();
  machine.on_cancel(bench.now, CancelMode::kKill);
  EXPECT_EQ(bench.log(), (Log{"cancel 2", "cancel 1", "fail 410 cancelled"}));
}

TEST(Cancel, AfterTheFinishReasonStopOnlyEndsIt) {
  Bench bench;
  auto& machine = bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1, .finish = Finish::kLength});
  bench.log();
  machine.on_cancel(bench.now, CancelMode::kStop);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "complete"}));
}

TEST(Cancel, HalfAToolCallIsNoAnswer) {
  Bench bench;
  auto& machine = bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1, .plain = false});
  bench.log();
  machine.on_cancel(bench.now, CancelMode::kStop);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "fail 410 cancelled"}));
}

TEST(Cancel, ASecondOneChangesNothing) {
  Bench bench;
  auto& machine = bench.start();
  machine.on_cancel(bench.now, CancelMode::kKill);
  bench.log();
  machine.on_cancel(bench.now, CancelMode::kStop);
  EXPECT_EQ(bench.log(), Log{});
}

}  // namespace
}  // namespace hf::core
