// Where a broken request goes, when it waits, and when it gives up.
#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

using State = RequestMachine::State;

// The engine answers `status` to an attempt that had asked for ids.
Log after_status(Bench& bench, int status, Duration retry_after = {}) {
  bench.start();
  bench.log();
  bench.machine().on_status(bench.now, 1, status, retry_after);
  return bench.log();
}

TEST(Recovery, A4xxMayBeForOurFieldsSoTheClientsOwnBytesDecide) {
  Bench bench;
  EXPECT_EQ(after_status(bench, 400), (Log{"open 2@0 restart plain"}));
  bench.machine().on_status(bench.now, 2, 400, {});
  EXPECT_EQ(bench.log(), (Log{"relay 2"}));
}

TEST(Recovery, WithoutOurFieldsA4xxIsTheClientsOwn) {
  Bench bench;
  bench.spec.tokens_allowed = {false, false};
  EXPECT_EQ(after_status(bench, 422), (Log{"relay 1"}));
}

TEST(Recovery, OurFieldsAreNotSentAgainAfterA4xx) {
  Bench bench;
  after_status(bench, 400);
  bench.failed(2);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 2", "open 3@1 restart plain"}));
}

TEST(Recovery, A4xxOfAWorkerThatIsGoneSinceIsTriedElsewhere) {
  Bench bench;
  bench.start();
  bench.view.workers[0].state = WorkerState::kEjected;  // the view changed under the attempt
  bench.log();
  bench.machine().on_status(bench.now, 1, 400, {});
  EXPECT_EQ(bench.log(), (Log{"open 2@1 restart plain"}));
}

TEST(Recovery, CredentialsOfOneWorkerDoNotEndARequestThatAnotherCanServe) {
  for (const int status : {401, 403, 404}) {
    Bench bench;
    EXPECT_EQ(after_status(bench, status), (Log{"open 2@1 restart ids"})) << status;
    bench.machine().on_status(bench.now, 2, status, {});
    EXPECT_EQ(bench.log(), (Log{"relay 2"})) << status;
  }
}

TEST(Recovery, A5xxIsTriedElsewhereAndRelayedWhenNobodyIsLeft) {
  Bench bench;
  bench.options.attempts_without_progress = 1;
  EXPECT_EQ(after_status(bench, 500),
            (Log{"report 0 http_5xx", "cancel 1", "open 2@1 restart ids"}));
  bench.machine().on_status(bench.now, 2, 500, {});
  EXPECT_EQ(bench.log(), (Log{"report 1 http_5xx", "cancel 2", "relay 2"}));
}

TEST(Recovery, AnOverloadedWorkerCostsNothing) {
  Bench bench;
  EXPECT_EQ(after_status(bench, 503, seconds(5)),
            (Log{"report 0 overloaded", "cancel 1", "open 2@1 restart ids"}));
}

TEST(Recovery, RetryAfterIsObeyedWhereNobodyElseIs) {
  Bench bench(1);
  EXPECT_EQ(after_status(bench, 429, seconds(3)), (Log{"report 0 overloaded", "cancel 1"}));
  bench.run(milliseconds(2'990));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(20));
  EXPECT_EQ(bench.log(), (Log{"open 2@0 restart ids"}));
}

TEST(Recovery, TheOneThatWantsToBeAskedSoonestIsAskedFirst) {
  Bench bench(2);
  after_status(bench, 503, seconds(2));
  bench.machine().on_status(bench.now, 2, 503, seconds(4));
  bench.log();
  bench.run(milliseconds(2'010));
  EXPECT_EQ(bench.log(), (Log{"open 3@0 restart ids"}));
}

TEST(Recovery, RefusalsAreBoundedByTimeAlone) {
  Bench bench(1);
  bench.start();
  AttemptId id = 1;
  const auto begun = bench.now;
  while (!bench.machine().is_done() && id < 50) {
    if (bench.machine().state() == State::kRunning) {
      bench.machine().on_status(bench.now, id++, 503, {});
    }
    bench.run(milliseconds(250));
  }
  EXPECT_EQ(bench.log().back(), "fail 503 no_worker");
  EXPECT_LE(bench.now - begun, milliseconds(5'500));
  EXPECT_EQ(bench.machine().record().attempts, 5U);  // one a second, where it named no time
}

TEST(Recovery, GivesUpAfterFourAttemptsWithoutProgress) {
  Bench bench(6);
  auto& machine = bench.start();
  AttemptId id = 1;
  while (!machine.is_done() && id < 20) {
    bench.failed(id++);
    bench.run(seconds(3));
  }
  EXPECT_EQ(machine.record().attempts, 5U);
  EXPECT_EQ(bench.log().back(), "fail 503 no_worker");
}

TEST(Recovery, ProgressForgetsEarlierFailures) {
  Bench bench(2);
  bench.spec.max_tokens = 50;
  bench.start();
  for (AttemptId id = 1; id <= 10; ++id) {
    const auto prompt = 3 + static_cast<std::int64_t>(id == 1 ? 0 : id - 1);
    bench.token(
        id, {.ids = {static_cast<TokenId>(20 + id)}, .text = "x", .count = 1, .prompt = prompt});
    bench.failed(id);
    bench.run(seconds(3));
    EXPECT_FALSE(bench.machine().is_done()) << id;
  }
  EXPECT_EQ(bench.machine().record().attempts, 11U);
  EXPECT_EQ(bench.machine().ledger().size(), 10U);
}

TEST(Recovery, TheFirstFailoverIsFreeTheSecondBacksOff) {
  Bench bench(4);
  bench.start();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@1 restart ids");
  bench.failed(2);
  EXPECT_EQ(bench.log().back(), "cancel 2");
  EXPECT_LE(bench.machine().deadline(), bench.now + milliseconds(50));
  bench.run(milliseconds(51));
  EXPECT_EQ(bench.log(), (Log{"open 3@2 restart ids"}));
}

TEST(Recovery, RetriesOfNewRequestsWaitForTheBudget) {
  Bench bench(4);
  bench.start();
  while (bench.retries.take(bench.now)) {
  }
  bench.failed(1);  // free
  bench.failed(2);  // charged: nothing is left
  bench.log();
  bench.run(milliseconds(60));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(seconds(3));  // 10 a second come back
  EXPECT_EQ(bench.log(), (Log{"open 3@2 restart ids"}));
}

TEST(Recovery, ContinuationsAreNeverCharged) {
  Bench bench(4);
  bench.start();
  while (bench.retries.take(bench.now)) {
  }
  bench.three_tokens();
  bench.failed(1);
  bench.failed(2);
  bench.log();
  bench.run(milliseconds(60));
  EXPECT_EQ(bench.log(), (Log{"open 3@2 tokens carry 21 22 23 max 7"}));
}

TEST(Recovery, WaitsForRoomAndIsToldOfIt) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.router.full = true;
  bench.failed(1);
  bench.run(seconds(1));
  bench.log();
  bench.router.full = false;
  bench.machine().on_room(bench.now);
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 22 23 max 7"}));
}

TEST(Recovery, MovesWhenItsWorkerIsDeclaredDead) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.set_state(0, WorkerState::kDead);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "open 2@1 tokens carry 21 22 23 max 7"}));
}

TEST(Recovery, AnOlderDeathOfItsWorkerIsNotItsOwn) {
  Bench bench;
  bench.view.workers[0].deaths = 3;  // before it began
  bench.start();
  bench.log();
  bench.machine().on_view(bench.now);
  EXPECT_EQ(bench.log(), Log{});
}

TEST(Recovery, AStreamStaysAtASuspectOrEjectedWorkerWhileItFlows) {
  for (const auto state : {WorkerState::kSuspect, WorkerState::kEjected}) {
    Bench bench;
    bench.start();
    bench.three_tokens();
    bench.log();
    bench.set_state(0, state);
    EXPECT_EQ(bench.log(), Log{});
  }
}

// A request that was there when `count` workers died, each at its first token or before.
void die_with_it(Bench& bench, AttemptId first, int count) {
  for (int i = 0; i < count; ++i) {
    const auto id = first + static_cast<AttemptId>(i);
    const auto worker = bench.machine().record().workers.back();
    bench.failed(id);
    bench.set_state(worker, WorkerState::kDead);
    bench.run(milliseconds(100));
  }
}

TEST(Poison, TheThirdDeathEndsIt) {
  Bench bench(4);
  bench.start();
  die_with_it(bench, 1, 3);
  EXPECT_EQ(bench.log().back(), "fail 500 poison_suspected");
  EXPECT_FALSE(bench.actions.last_error.should_retry);
  EXPECT_EQ(bench.view.workers[3].state, WorkerState::kReady);  // the fourth survives
}

// Its worker dies, and it is placed again.
void one_more_death(Bench& bench, AttemptId attempt) {
  const auto worker = bench.machine().record().workers.back();
  bench.failed(attempt);
  bench.set_state(worker, WorkerState::kDead);
  bench.run(milliseconds(900));
}

TEST(Poison, AnAttemptThatWroteOnClearsItsPrefixOfEarlierDeaths) {
  Bench bench(5);
  bench.spec.max_tokens = 90;
  bench.start();
  one_more_death(bench, 1);
  for (int i = 1; i <= 17; ++i) bench.token(2, {.ids = {20 + i}, .text = "x", .count = i});
  one_more_death(bench, 2);
  one_more_death(bench, 3);
  EXPECT_FALSE(bench.machine().is_done());  // the third, at once; but there was one that lived
  EXPECT_EQ(bench.machine().record().workers.size(), 4U);
  one_more_death(bench, 4);
  EXPECT_EQ(bench.log().back(), "fail 500 poison_suspected");  // where the second one died
}

/// Answers that their engines write whole: nobody sees their tokens.
struct WholeAnswers : testing::Test {
  WholeAnswers() { bench.spec.stream = false; }
  void pace_is_known() {
    for (auto& worker : bench.view.workers) worker.cells->itl.add(bench.now, milliseconds(100));
  }
  void die_after(Duration age, AttemptId attempt) {
    bench.pass(age);
    one_more_death(bench, attempt);
  }
  Bench bench{7};
};

TEST_F(WholeAnswers, TheThirdDeathAtOnceEndsThem) {
  pace_is_known();
  bench.start();
  for (AttemptId attempt = 1; attempt <= 3; ++attempt) die_after(milliseconds(50), attempt);
  EXPECT_EQ(bench.log().back(), "fail 500 poison_suspected");
}

TEST_F(WholeAnswers, ThoseThatWroteForLongWereNotTheCause) {
  pace_is_known();
  bench.start();
  for (AttemptId attempt = 1; attempt <= 3; ++attempt) die_after(seconds(3), attempt);
  EXPECT_FALSE(bench.machine().is_done());
  bench.machine().on_whole(bench.now, 4);
  EXPECT_EQ(bench.log().back(), "relay 4");
}

TEST_F(WholeAnswers, WithoutAKnownPaceEveryDeathCounts) {
  bench.start();
  for (AttemptId attempt = 1; attempt <= 3; ++attempt) die_after(seconds(3), attempt);
  EXPECT_EQ(bench.log().back(), "fail 500 poison_suspected");
}

TEST_F(WholeAnswers, TheLastOfTheAttemptsEndsItWhereverItKills) {
  pace_is_known();
  bench.start();
  AttemptId attempt = 1;
  for (; !bench.machine().is_done() && attempt < 9; ++attempt) die_after(seconds(3), attempt);
  EXPECT_EQ(attempt, 6U);  // five deaths
  EXPECT_EQ(bench.log().back(), "fail 500 poison_suspected");
  EXPECT_FALSE(bench.actions.last_error.should_retry);
}

TEST(Poison, ItWaitsToKnowWhetherTheWorkerDiedOrOnlyTheConnection) {
  Bench bench(4);
  bench.start();
  die_with_it(bench, 1, 1);
  bench.log();
  bench.failed(2);
  bench.run(milliseconds(300));
  EXPECT_EQ(bench.log(), (Log{"report 1 reset", "cancel 2"}));
  bench.view.workers[1].alive_at = bench.now;  // a probe was answered: it lives
  bench.machine().on_view(bench.now);
  EXPECT_EQ(bench.log(), (Log{"open 3@2 restart ids"}));
}

TEST(Poison, TheVerdictIsNotWaitedForForever) {
  Bench bench(4);
  bench.start();
  die_with_it(bench, 1, 1);
  bench.failed(2);
  bench.log();
  bench.run(milliseconds(3'100));
  EXPECT_EQ(bench.log(), (Log{"open 3@2 restart ids"}));
}

TEST(Poison, SuspectsRunOnePerWorkerAtATime) {
  Bench bench(4);
  bench.start();
  bench.cells(2).suspects = 1;  // somebody else's
  die_with_it(bench, 1, 2);
  EXPECT_EQ(bench.log().back(), "open 3@3 restart ids");
  EXPECT_EQ(bench.cells(3).suspects.load(), 1);
  bench.cells(2).suspects = 0;
}

// Found by poison_request under ASan: two cores saw the worker free in the same moment.
TEST(Poison, ASlotThatAnotherCoreTookInBetweenIsNotTakenToo) {
  struct Racing final : Router {
    Racing(Router& inner_router, Bench& its_bench) : inner(inner_router), bench(its_bench) {}
    std::optional<std::size_t> pick(const FleetView& view, const PickRequest& request) override {
      const auto chosen = inner.pick(view, request);
      if (chosen && request.suspect) bench.cells(*chosen).suspects = 1;  // the other core, just now
      return chosen;
    }
    Router& inner;
    Bench& bench;
  };
  Bench bench(4);
  Racing racing(bench.router, bench);
  bench.start();
  bench.context.router = &racing;
  die_with_it(bench, 1, 2);
  EXPECT_FALSE(bench.log().back().starts_with("open 3"));
  for (std::size_t i = 0; i < 4; ++i) bench.cells(i).suspects = 0;
}

TEST(Poison, ASuspectThatLivesMakesRoomForTheNext) {
  Bench bench(4);
  bench.spec.max_tokens = 90;
  bench.start();
  die_with_it(bench, 1, 2);
  for (int i = 1; i <= 17; ++i) {
    bench.token(3, {.ids = {20 + i}, .text = "x", .count = i});
    EXPECT_EQ(bench.cells(2).suspects.load(), i <= 16 ? 1 : 0) << i;
  }
}

TEST(Poison, ALateThirdDeathIsBadLuck) {
  Bench bench(4);
  bench.spec.max_tokens = 90;
  bench.start();
  die_with_it(bench, 1, 2);
  for (int i = 1; i <= 20; ++i) bench.token(3, {.ids = {20 + i}, .text = "x", .count = i});
  bench.log();
  die_with_it(bench, 3, 1);
  EXPECT_FALSE(bench.machine().is_done());
  EXPECT_EQ(bench.machine().record().workers.back(), 3U);
}

TEST(Poison, ARefusedConnectionIsNoDeathOfItsMaking) {
  Bench bench(5);
  bench.start();
  for (AttemptId id = 1; id <= 3; ++id) {
    const auto worker = bench.machine().record().workers.back();
    bench.failed(id, Reason::kConnect);
    bench.set_state(worker, WorkerState::kDead);
  }
  EXPECT_EQ(bench.log().back(), "open 4@3 restart ids");
}

TEST(Hedge, ASilentStreamIsHedgedAfterFiveSeconds) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.run(milliseconds(4'990));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(20));
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 22 23 max 7"}));
  EXPECT_EQ(bench.hedges.running(), 1);
}

TEST(Hedge, TakesOverWithItsFirstToken) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.run(milliseconds(5'010));
  bench.log();
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .prompt = 6});
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "say d"}));
  EXPECT_EQ(bench.machine().record().hedges_won, 1U);
  // The old owner says nothing any more.
  bench.token(1, {.ids = {24}, .text = "d", .count = 4});
  EXPECT_EQ(bench.log(), Log{});
}

TEST(Hedge, IsDroppedWhenTheOwnerMoves) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.run(milliseconds(5'010));
  bench.log();
  bench.token(1, {.ids = {24}, .text = "d", .count = 4});
  EXPECT_EQ(bench.log(), (Log{"cancel 2", "forward 1"}));
  EXPECT_EQ(bench.hedges.running(), 0);
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .prompt = 6});
  EXPECT_EQ(bench.log(), Log{});
}

TEST(Hedge, IsDroppedWhileItIsBeingPrepared) {
  Bench bench;
  bench.spec.stop = {"zz"};
  bench.start();
  bench.three_tokens();
  bench.run(milliseconds(5'010));
  EXPECT_EQ(bench.log().back(), "ask text 1 21 22 23");
  bench.token(1, {.ids = {24}, .text = "d", .count = 4});
  EXPECT_EQ(bench.log(), (Log{"forward 1"}));
  bench.answer_text("abc");
  EXPECT_EQ(bench.log(), Log{});
}

TEST(Hedge, BecomesTheOwnerWhenTheOwnerFails) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.run(milliseconds(5'010));
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1"}));
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .prompt = 6});
  EXPECT_EQ(bench.log(), (Log{"say d"}));
}

TEST(Hedge, BecomesTheOwnerWhileItIsBeingPrepared) {
  Bench bench;
  bench.spec.stop = {"zz"};
  bench.start();
  bench.three_tokens();
  bench.run(milliseconds(5'010));
  bench.failed(1);
  EXPECT_EQ(bench.machine().state(), State::kPreparing);
  bench.log();
  bench.answer_text("abc");
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 22 23 max 7"}));
}

TEST(Hedge, ThatFailsLeavesTheOwnerAlone) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.run(milliseconds(5'010));
  bench.log();
  bench.failed(2);
  EXPECT_EQ(bench.log(), (Log{"report 1 reset", "cancel 2"}));
  EXPECT_EQ(bench.machine().state(), State::kRunning);
  bench.token(1, {.ids = {24}, .text = "d", .count = 4});
  EXPECT_EQ(bench.log(), (Log{"forward 1"}));
}

TEST(Hedge, NeverGoesToAWorkerThatFailedTheRequest) {
  Bench bench;
  bench.start();
  bench.failed(1);
  bench.three_tokens();  // of an attempt that is not open: ignored
  bench.token(2, {.ids = {21}, .text = "a", .count = 1});
  bench.log();
  bench.run(seconds(20));
  EXPECT_EQ(bench.log(), Log{});
}

TEST(Hedge, TheBudgetHolds) {
  Bench bench;
  bench.hedges.take(1);
  bench.hedges.take(1);
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.run(seconds(8));
  EXPECT_EQ(bench.log(), Log{});
  bench.hedges.release();
  bench.run(seconds(2));
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 22 23 max 7"}));
  bench.hedges.release();
}

TEST(Hedge, StreamsOfASuspectWorkerAreNotChargedAndSpreadOverASecond) {
  Bench bench;
  bench.hedges.take(1);
  bench.hedges.take(1);
  bench.start();
  bench.three_tokens();
  bench.set_state(0, WorkerState::kSuspect);
  bench.log();
  bench.run(milliseconds(4'999));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(1'002));
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 22 23 max 7"}));
  bench.hedges.release();
  bench.hedges.release();
}

TEST(Hedge, ASlowFirstTokenIsHedgedByAFreshStart) {
  Bench bench;
  bench.spec.endpoint = Endpoint::kChat;
  bench.start();
  bench.log();
  bench.run(milliseconds(9'990));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(milliseconds(20));
  EXPECT_EQ(bench.log(), (Log{"open 2@1 restart ids"}));
  bench.role(2);  // a role is no token: it does not take over yet
  EXPECT_EQ(bench.log(), Log{});
  bench.token(2, {.ids = {21}, .text = "a", .count = 1});
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "role", "forward 2"}));
}

TEST(Hedge, ItsRoleIsSaidWhenItInheritsTheStream) {
  Bench bench;
  bench.spec.endpoint = Endpoint::kChat;
  bench.start();
  bench.run(milliseconds(10'010));
  bench.role(2);
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "role"}));
  bench.token(2, {.ids = {21}, .text = "a", .count = 1});
  EXPECT_EQ(bench.log(), (Log{"forward 2"}));
}

TEST(Hedge, WaitsLongerWhereFirstTokensAreSlow) {
  Bench bench;
  bench.start();
  bench.context.first_token_p99 = seconds(4);
  bench.log();
  bench.run(seconds(19));
  EXPECT_EQ(bench.log(), Log{});
  bench.run(seconds(2));
  EXPECT_EQ(bench.log(), (Log{"open 2@1 restart ids"}));
}

TEST(Hedge, AWholeAnswerIsNeverHedged) {
  Bench bench;
  bench.spec.stream = false;
  bench.probes_answered = true;
  bench.start();
  bench.log();
  bench.run(seconds(599));
  EXPECT_EQ(bench.log(), Log{});
}

}  // namespace
}  // namespace hf::core
