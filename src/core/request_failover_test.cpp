// Failing over before the first token: fallback models, prompts that do not fit, limits of the
// first token, and moving away from a slow worker.
#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

/// Workers 0 and 1 serve "m", worker 2 serves its fallback "n".
class Chain : public Bench {
 public:
  Chain() {
    auto& other = add_worker();
    other.models = {{"n", 100}};
    other.tokens_identity = 8;
    other.exact_identity = 80;
    spec.fallback = {"n"};
  }
};

TEST(Fallback, IsNotUsedWhileAWorkerOfTheModelCanTakeIt) {
  Chain bench;
  bench.start();
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first ids"}));
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "open 2@1 restart ids"}));
}

TEST(Fallback, ComesBeforeAWorkerThatFailedTheRequestIsTriedAgain) {
  Chain bench;
  auto& machine = bench.start();
  bench.failed(1, Reason::kConnect);
  bench.failed(2, Reason::kConnect);
  EXPECT_EQ(bench.log().back(), "open 3@2 restart of n ids");
  EXPECT_EQ(machine.model(), "n");
  bench.token(3, {.ids = {31}, .text = "x", .count = 1});
  EXPECT_EQ(bench.log(), (Log{"forward 3"}));
}

TEST(Fallback, OverloadedWorkersOfTheModelMakeRoomForIt) {
  Chain bench;
  auto& machine = bench.start();
  machine.on_status(bench.now, 1, 429, seconds(3));
  machine.on_status(bench.now, 2, 503, seconds(3));
  EXPECT_EQ(bench.log().back(), "open 3@2 restart of n ids");
}

TEST(Fallback, IsTakenAtOnceWhenNoWorkerOfTheModelIsThere) {
  Chain bench;
  bench.view.workers[0].state = WorkerState::kDead;
  bench.view.workers[1].state = WorkerState::kEjected;
  bench.start();
  EXPECT_EQ(bench.log(), (Log{"open 1@2 first of n ids"}));
}

TEST(Fallback, AModelThatNobodyServesMayHaveOne) {
  Chain bench;
  bench.spec.model = "alias";
  bench.spec.fallback = {"nobody", "n"};
  bench.start();
  EXPECT_EQ(bench.log(), (Log{"open 1@2 first of n ids"}));
}

TEST(Fallback, GoesBackToTheModelWhenItFails) {
  Chain bench;
  bench.view.workers[0].state = WorkerState::kDead;
  bench.view.workers[1].state = WorkerState::kDead;
  bench.start();
  bench.view.workers[1].state = WorkerState::kReady;
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@1 restart ids");
}

TEST(Fallback, AStartedAnswerKeepsItsModel) {
  Chain bench;
  bench.view.workers[1].state = WorkerState::kDead;
  bench.start();
  bench.three_tokens();
  bench.view.workers[0].state = WorkerState::kDead;
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "cancel 1");  // it waits for a worker of "m"
  bench.set_state(1, WorkerState::kReady);
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 22 23 max 7"}));
}

TEST(Fallback, AnAnswerOfAFallbackGoesOnInThatModel) {
  Chain bench;
  auto& twin = bench.add_worker();
  twin.models = {{"n", 100}};
  twin.tokens_identity = 8;
  twin.exact_identity = 80;
  bench.view.workers[0].state = WorkerState::kDead;
  bench.view.workers[1].state = WorkerState::kDead;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.set_state(0, WorkerState::kReady);
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@3 tokens of n carry 21 22 23 max 7");
}

TEST(Fallback, ARoleAlreadyNamedTheModel) {
  Chain bench;
  bench.spec.endpoint = Endpoint::kChat;
  bench.view.workers[1].state = WorkerState::kDead;
  bench.start();
  bench.role(1);
  bench.view.workers[0].state = WorkerState::kDead;
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "cancel 1");
}

TEST(LongPrompt, GoesOnlyWhereItFits) {
  Bench bench;
  bench.view.workers[0].models = {{"m", 50}};
  bench.spec.prompt_tokens_min = 60;
  bench.start();
  EXPECT_EQ(bench.log(), (Log{"open 1@1 first ids"}));
  EXPECT_EQ(bench.router.last.length_min, 60);
}

TEST(LongPrompt, TheClientsOwnIdsAreCounted) {
  Bench bench;
  bench.spec.prompt_ids.assign(77, 5);
  bench.start();
  EXPECT_EQ(bench.router.last.length_min, 77);
}

TEST(FirstToken, ThirtySecondsWhileNoProbeIsAnswered) {
  Bench bench(1);
  bench.start();
  bench.log();
  bench.run(milliseconds(29'900));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(200));
  EXPECT_EQ(bench.log(), (Log{"report 0 stall", "cancel 1", "open 2@0 restart ids"}));
}

TEST(FirstToken, TenMinutesWhileProbesAreAnswered) {
  Bench bench(1);
  bench.probes_answered = true;
  bench.start();
  bench.log();
  bench.run(seconds(599));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(seconds(2));
  EXPECT_EQ(bench.log(), (Log{"report 0 stall", "cancel 1", "open 2@0 restart ids"}));
}

TEST(FirstToken, IsNotHedgedBehindAQueueThatTheEngineTellsOf) {
  Bench bench;
  bench.probes_answered = true;
  bench.start();
  bench.log();
  for (int i = 0; i < 30; ++i) {
    bench.cells(0).set_engine_load(bench.now, 4);
    bench.run(seconds(1));
  }
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(3'900));  // the figure is not yet old
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(200));
  EXPECT_EQ(bench.log(), (Log{"open 2@1 restart ids"}));
}

TEST(FirstToken, AnEmptyQueueIsNoReasonToWait) {
  Bench bench;
  bench.probes_answered = true;
  bench.start();
  bench.log();
  bench.run(milliseconds(9'500));
  bench.cells(0).set_engine_load(bench.now, 0);
  bench.run(milliseconds(600));
  EXPECT_EQ(bench.log(), (Log{"open 2@1 restart ids"}));
}

TEST(SlowWorker, ItsStreamIsTakenOverWithinASecond) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.log();
  bench.set_state(0, WorkerState::kSlow);
  bench.run(milliseconds(1'001));
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 22 23 max 7"}));
  EXPECT_EQ(bench.hedges.running(), 0);  // not charged
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .prompt = 6});
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "say d"}));
  EXPECT_EQ(machine.record().migrations.at(0).reason, Reason::kSlow);
  EXPECT_EQ(machine.record().hedges_won, 1U);
}

TEST(SlowWorker, AStreamThatMovesFirstIsCutOverAtThatToken) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.set_state(0, WorkerState::kSlow);
  bench.run(milliseconds(1'001));
  bench.log();
  bench.token(1, {.ids = {24}, .text = "d", .count = 4});
  EXPECT_EQ(bench.log(), (Log{"cancel 2", "forward 1", "report 0 slow", "cancel 1",
                              "open 3@1 tokens carry 21 22 23 24 max 6"}));
  EXPECT_EQ(machine.record().hedges_lost, 1U);
  bench.token(3, {.ids = {25}, .text = "e", .count = 1, .prompt = 7});
  EXPECT_EQ(bench.log(), (Log{"say e"}));
}

TEST(SlowWorker, AStreamThatCannotMoveStays) {
  Bench bench;
  bench.spec.tokens_allowed = {false, false};
  bench.start();
  bench.token(1, {.ids = {}, .text = "a"});
  bench.log();
  bench.set_state(0, WorkerState::kSlow);
  bench.run(seconds(4));
  bench.token(1, {.ids = {}, .text = "b"});
  EXPECT_EQ(bench.log(), (Log{"forward 1"}));
}

TEST(SlowWorker, NobodyMovesToAnotherSlowOne) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.set_state(1, WorkerState::kSlow);
  bench.set_state(0, WorkerState::kSlow);
  bench.run(seconds(4));
  EXPECT_EQ(bench.log(), Log{});
}

TEST(Hedge, TellsHowEachEnded) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.run(milliseconds(5'010));
  bench.token(1, {.ids = {24}, .text = "d", .count = 4});
  EXPECT_EQ(machine.record().hedges_lost, 1U);
  bench.run(milliseconds(5'010));
  bench.failed(1);
  EXPECT_EQ(machine.record().hedges, 2U);
  EXPECT_EQ(machine.record().hedges_inherited, 1U);
  machine.on_client_gone(bench.now);
  EXPECT_EQ(machine.record().hedges_dropped, 0U);
}

TEST(Hedge, EndsWithARequestThatItsOwnerRefused) {
  Bench bench;
  bench.spec.tokens_allowed = {false, false};
  bench.probes_answered = true;
  auto& machine = bench.start();
  bench.run(milliseconds(10'010));
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first plain", "open 2@1 restart plain"}));
  machine.on_status(bench.now, 1, 422, {});
  EXPECT_EQ(bench.log(), (Log{"cancel 2", "relay 1"}));
  EXPECT_EQ(bench.cells(1).running.load(), 0);
}

TEST(Restart, ARefusalAfterTheRoleIsOneError) {
  Bench bench;
  bench.spec.endpoint = Endpoint::kChat;
  bench.spec.tokens_allowed = {false, false};
  auto& machine = bench.start();
  bench.role(1);
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@1 restart plain");
  // The head of the stream is out: the engine's own answer would be a second one.
  machine.on_status(bench.now, 2, 400, {});
  EXPECT_EQ(bench.log(), (Log{"fail 400 engine_refused"}));
}

TEST(Hedge, TakesOverFromAnOwnerThatRefusesOurFieldsAndCannotBeAskedAgain) {
  Bench bench;
  bench.probes_answered = true;
  auto& machine = bench.start();
  bench.run(milliseconds(10'010));
  EXPECT_EQ(bench.log().back(), "open 2@1 restart ids");
  bench.set_state(0, WorkerState::kSuspect);
  bench.log();
  machine.on_status(bench.now, 1, 400, {});
  EXPECT_EQ(bench.log(), Log{});
  bench.token(2, {.ids = {21}, .text = "a", .count = 1});
  EXPECT_EQ(bench.log(), (Log{"forward 2"}));
}

TEST(Hedge, TakesOverFromAnOwnerWhoseWorkerDoesNotKnowUs) {
  Bench bench;
  bench.probes_answered = true;
  auto& machine = bench.start();
  bench.run(milliseconds(10'010));
  bench.log();
  machine.on_status(bench.now, 1, 401, {});
  EXPECT_EQ(bench.log(), Log{});
  bench.token(2, {.ids = {21}, .text = "a", .count = 1});
  EXPECT_EQ(bench.log(), (Log{"forward 2"}));
}

TEST(Hedge, ItsRetryAfterHoldsForTheRequest) {
  Bench bench;
  bench.spec.tokens_allowed = {false, false};
  bench.probes_answered = true;
  auto& machine = bench.start();
  bench.run(milliseconds(10'010));
  EXPECT_EQ(bench.log().back(), "open 2@1 restart plain");
  machine.on_status(bench.now, 2, 429, seconds(3));
  bench.set_state(0, WorkerState::kDead);
  bench.log();
  bench.run(milliseconds(2'980));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(30));
  EXPECT_EQ(bench.log(), (Log{"open 3@1 restart plain"}));
}

TEST(Hedge, WithoutBudgetItIsCounted) {
  Bench bench;
  bench.hedges.take(1);
  bench.hedges.take(1);
  bench.start();
  bench.three_tokens();
  bench.run(milliseconds(5'010));
  EXPECT_EQ(bench.context.hedges_refused, 1U);
  bench.hedges.release();
  bench.hedges.release();
}

}  // namespace
}  // namespace hf::core
