#include "core/request_machine.hpp"

#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

using State = RequestMachine::State;

TEST(Request, ForwardsAnUntouchedStreamAsItIs) {
  Bench bench;
  bench.spec.include_usage = true;
  bench.start();
  bench.machine().on_head(bench.now, 1);
  bench.three_tokens();
  bench.token(1, {.ids = {kEos}, .text = "", .count = 4, .finish = Finish::kStop});
  bench.event(1, EventKind::kUsage, 4);
  bench.event(1, EventKind::kDone);
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first ids", "forward 1", "forward 1", "forward 1",
                              "forward 1", "forward 1", "complete"}));
  EXPECT_TRUE(bench.machine().is_done());
  EXPECT_FALSE(bench.machine().is_rebuilt());
  EXPECT_EQ(bench.machine().completion_tokens(), 4);
  EXPECT_EQ(bench.machine().deadline(), kNever);
}

TEST(Request, IgnoresEverythingAfterItsEnd) {
  Bench bench;
  auto& machine = bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1, .finish = Finish::kStop});
  bench.event(1, EventKind::kDone);
  bench.log();
  bench.token(1, {.ids = {22}, .text = "b", .count = 2});
  bench.failed(1);
  machine.on_end(bench.now, 1);
  machine.on_view(bench.now);
  machine.on_client_gone(bench.now);
  machine.tick(bench.now + seconds(100));
  machine.restart_clocks(bench.now);
  EXPECT_EQ(bench.log(), Log{});
}

TEST(Request, SaysOneRoleAlthoughItRestarted) {
  Bench bench;
  bench.spec.endpoint = Endpoint::kChat;
  bench.start();
  bench.role(1);
  bench.failed(1);
  bench.role(2);
  bench.token(2, {.ids = {21}, .text = "a", .count = 1});
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first ids", "forward 1", "report 0 reset", "cancel 1",
                              "open 2@1 restart ids", "forward 2"}));
}

TEST(Request, RestartsAtOnceWhenNothingWasSent) {
  Bench bench;
  bench.start();
  bench.log();
  bench.failed(1, Reason::kConnect);
  EXPECT_EQ(bench.log(), (Log{"report 0 connect", "cancel 1", "open 2@1 restart ids"}));
}

TEST(Request, TakesTheNextWorkerForEachRefusedConnection) {
  Bench bench(4);
  bench.start();
  for (AttemptId id = 1; id <= 3; ++id) bench.failed(id, Reason::kConnect);
  EXPECT_EQ(bench.log(),
            (Log{"open 1@0 first ids", "report 0 connect", "cancel 1", "open 2@1 restart ids",
                 "report 1 connect", "cancel 2", "open 3@2 restart ids", "report 2 connect",
                 "cancel 3", "open 4@3 restart ids"}));
}

TEST(Request, CallsEachKindOfHalfAnswerAFailure) {
  const auto restarts = [](auto&& fail_it, std::string_view reason) {
    Bench bench;
    bench.start();
    bench.log();
    fail_it(bench);
    EXPECT_EQ(bench.log(),
              (Log{"report 0 " + std::string(reason), "cancel 1", "open 2@1 restart ids"}));
  };
  restarts([](Bench& bench) { bench.machine().on_end(bench.now, 1); }, "early_end");
  restarts([](Bench& bench) { bench.event(1, EventKind::kDone); }, "early_end");
  restarts([](Bench& bench) { bench.event(1, EventKind::kError); }, "in_band_error");
  restarts([](Bench& bench) { bench.token(1, {.ids = {}, .text = "", .finish = Finish::kAbort}); },
           "abort");
  restarts([](Bench& bench) { bench.token(1, {.ids = {}, .text = "", .finish = Finish::kError}); },
           "abort");
  restarts([](Bench& bench) { bench.failed(1, Reason::kProtocol); }, "protocol");
}

TEST(Request, CompletesWithItsOwnUsageWhenOnlyTheEndWasLost) {
  Bench bench;
  bench.spec.include_usage = true;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {22}, .text = "b", .count = 2, .finish = Finish::kStop});
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "usage 3+2", "complete"}));
}

TEST(Request, CountsEventsWhereNobodyCounted) {
  Bench bench;
  bench.spec.include_usage = true;
  bench.spec.tokens_allowed = {false, false};
  bench.start();
  for (const auto finish : {Finish::kNone, Finish::kNone, Finish::kStop}) {
    bench.token(1,
                {.ids = {}, .text = "x", .finish = finish, .prompt = -1, .with_prompt_ids = false});
  }
  bench.log();
  bench.machine().on_end(bench.now, 1);
  EXPECT_EQ(bench.log(), (Log{"usage 3+3", "complete"}));  // 3: the estimate for the prompt
}

TEST(Request, DoesNotWaitForeverForTheEndAfterTheFinishReason) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1, .finish = Finish::kStop});
  bench.log();
  bench.run(milliseconds(1'900));
  EXPECT_FALSE(bench.machine().is_done());
  bench.run(milliseconds(200));
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "complete"}));
}

TEST(Request, DoesNotTakeUsageBeforeTheFinishForAnEnd) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.log();
  bench.event(1, EventKind::kUsage, 1);
  EXPECT_EQ(bench.log(), Log{});
  EXPECT_EQ(bench.machine().state(), State::kRunning);
}

TEST(Request, PassesTheClientsOwnErrorOn) {
  Bench bench;
  auto& machine = bench.start();
  bench.log();
  UpstreamEvent error;
  error.kind = EventKind::kError;
  error.client_error = true;
  error.error_message = "max_tokens is too large";
  machine.on_event(bench.now, 1, error);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "fail 400 engine_refused"}));
  EXPECT_EQ(bench.actions.last_error.message, "max_tokens is too large");
  EXPECT_FALSE(bench.actions.last_error.should_retry);
}

TEST(Request, RefusesAnUnknownModel) {
  Bench bench;
  bench.spec.model = "other";
  bench.start();
  EXPECT_EQ(bench.log(), (Log{"fail 404 model_not_found"}));
}

TEST(Request, WaitsForAWorkerThatMayServeItsModel) {
  Bench bench;
  bench.spec.model = "other";
  bench.view.workers[1].models.clear();
  bench.view.workers[1].state = WorkerState::kStarting;
  bench.start();
  EXPECT_EQ(bench.log(), Log{});
  bench.view.workers[1].models = {{"other", 100}};
  bench.set_state(1, WorkerState::kReady);
  EXPECT_EQ(bench.log(), (Log{"open 1@1 first ids"}));
}

TEST(Waiting, StandsStillWhileWeWereStopped) {
  Bench bench;
  for (auto& worker : bench.view.workers) worker.state = WorkerState::kDead;
  auto& machine = bench.start();
  bench.run(milliseconds(4'900));
  bench.pass(seconds(3));
  machine.restart_clocks(bench.now, seconds(3));
  bench.run(milliseconds(90));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(20));
  EXPECT_EQ(bench.log(), (Log{"fail 503 no_worker"}));
}

TEST(Request, ANewOneWaitsFiveSecondsForAWorker) {
  Bench bench;
  for (auto& worker : bench.view.workers) worker.state = WorkerState::kDead;
  bench.start();
  bench.run(milliseconds(4'990));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(20));
  EXPECT_EQ(bench.log(), (Log{"fail 503 no_worker"}));
  EXPECT_GT(bench.actions.last_error.retry_after, Duration::zero());
}

TEST(Request, AStartedOneWaitsAMinuteAndSaysSo) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.set_state(1, WorkerState::kDead);
  bench.view.workers[0].state = WorkerState::kDead;
  bench.view.workers[0].deaths = 1;
  bench.log();
  bench.machine().on_view(bench.now);
  EXPECT_EQ(bench.log(), (Log{"cancel 1"}));  // that it died came from the fleet: no report
  bench.run(seconds(59));
  EXPECT_EQ(bench.log(), Log(11, "comment waiting"));
  bench.run(seconds(2));
  EXPECT_EQ(bench.log(), (Log{"comment waiting", "fail 503 no_worker"}));
}

TEST(Request, AStartedOneGoesOnWhenAWorkerComesBack) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.set_state(1, WorkerState::kDead);
  bench.set_state(0, WorkerState::kDead);
  bench.run(seconds(3));
  bench.log();
  bench.set_state(0, WorkerState::kReady);
  EXPECT_EQ(bench.log(), (Log{"open 2@0 tokens carry 21 22 23 max 7"}));
}

TEST(Request, CommentsWhileItIsBeingPrepared) {
  Bench bench;
  bench.spec.stop = {"zz"};
  bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.log();
  bench.run(seconds(11));
  EXPECT_EQ(bench.log(), (Log{"comment waiting", "comment waiting"}));
}

TEST(Request, ALateLoopRestartsItsClocks) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.log();
  bench.pass(seconds(40));
  machine.restart_clocks(bench.now);
  machine.tick(bench.now);
  EXPECT_EQ(bench.log(), Log{});
  EXPECT_GT(machine.deadline(), bench.now);
  EXPECT_EQ(bench.cells(0).last_progress(), bench.now);
}

TEST(Request, NoStallIsSeenWhileTheClientDoesNotRead) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.log();
  machine.on_paused(bench.now, 1, true);
  EXPECT_EQ(bench.cells(0).reading.load(), 0);
  EXPECT_EQ(machine.deadline(), kNever);
  bench.pass(seconds(300));
  machine.tick(bench.now);
  EXPECT_EQ(bench.log(), Log{});
  machine.on_paused(bench.now, 1, false);
  EXPECT_EQ(bench.cells(0).reading.load(), 1);
  EXPECT_EQ(machine.deadline(), bench.now + seconds(5));  // counted from here on
}

TEST(Request, AStallBeyondTheHardLimitIsAFailure) {
  Bench bench(1);  // nobody could hedge
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.run(milliseconds(29'900));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(200));
  EXPECT_EQ(bench.log(),
            (Log{"report 0 stall", "cancel 1", "open 2@0 tokens carry 21 22 23 max 7"}));
}

TEST(Request, AWholeAnswerIsRelayedWhole) {
  Bench bench;
  bench.spec.stream = false;
  auto& machine = bench.start();
  EXPECT_EQ(bench.cells(0).reading.load(), 0);  // its silence says nothing of the worker
  EXPECT_EQ(bench.cells(0).running.load(), 1);
  bench.pass(seconds(20));
  machine.on_whole(bench.now, 1);
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first whole", "relay 1"}));
  EXPECT_EQ(bench.cells(0).last_progress(), bench.now);
}

TEST(Request, AWholeAnswerRestartsAfterAFailure) {
  Bench bench;
  bench.spec.stream = false;
  auto& machine = bench.start();
  bench.failed(1);
  machine.on_whole(bench.now, 2);
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first whole", "report 0 reset", "cancel 1",
                              "open 2@1 restart whole", "relay 2"}));
}

TEST(Request, AClientThatLeavesCancelsInEveryState) {
  {  // waiting
    Bench bench;
    for (auto& worker : bench.view.workers) worker.state = WorkerState::kDead;
    auto& machine = bench.start();
    machine.on_client_gone(bench.now);
    EXPECT_TRUE(machine.is_done());
    EXPECT_EQ(bench.log(), Log{});
  }
  {  // running
    Bench bench;
    auto& machine = bench.start();
    bench.token(1, {.ids = {21}, .text = "a", .count = 1});
    bench.log();
    machine.on_client_gone(bench.now);
    EXPECT_TRUE(machine.is_done());
    EXPECT_EQ(bench.log(), (Log{"cancel 1"}));
  }
  {  // preparing: what was reserved at the replacement is given back (~Bench looks)
    Bench bench;
    bench.spec.stop = {"zz"};
    auto& machine = bench.start();
    bench.three_tokens();
    bench.failed(1);
    EXPECT_GT(bench.cells(1).resume_prefill.load(), 0);
    bench.log();
    machine.on_client_gone(bench.now);
    EXPECT_TRUE(machine.is_done());
    EXPECT_EQ(bench.cells(1).resume_prefill.load(), 0);
    bench.answer_text("abc");
    EXPECT_EQ(bench.log(), Log{});
  }
  {  // hedged
    Bench bench;
    auto& machine = bench.start();
    bench.three_tokens();
    bench.run(seconds(6));
    bench.log();
    machine.on_client_gone(bench.now);
    EXPECT_EQ(bench.log(), (Log{"cancel 2", "cancel 1"}));
  }
  {  // finishing
    Bench bench;
    auto& machine = bench.start();
    bench.token(1, {.ids = {21}, .text = "a", .count = 1, .finish = Finish::kStop});
    bench.log();
    machine.on_client_gone(bench.now);
    EXPECT_EQ(bench.log(), (Log{"cancel 1"}));
  }
}

TEST(Request, KeepsTheWorkersFigures) {
  Bench bench;
  bench.spec.prompt_tokens_estimate = 500;
  bench.start();
  EXPECT_EQ(bench.cells(0).running.load(), 1);
  EXPECT_EQ(bench.cells(0).reading.load(), 1);
  EXPECT_EQ(bench.cells(0).prefill_owed.load(), 500);
  EXPECT_EQ(bench.cells(0).resume_prefill.load(), 0);
  bench.pass(seconds(1));
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  EXPECT_EQ(bench.cells(0).prefill_owed.load(), 0);
  EXPECT_EQ(bench.cells(0).prefill_rate.load(), 2000 + (500 - 2000) / 4);  // half-learnt
  EXPECT_EQ(bench.cells(0).last_progress(), bench.now);
  bench.failed(1);
  EXPECT_EQ(bench.cells(0).running.load(), 0);
  EXPECT_EQ(bench.cells(1).resume_prefill.load(), 501);  // prompt and one id, paced
}

TEST(Request, DescribesItselfInOneLine) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  EXPECT_EQ(machine.describe(), "RequestMachine{st=running att=1 tok=3 text=3 owner=1@0}");
}

}  // namespace
}  // namespace hf::core
