#include "core/worker_machine.hpp"

#include <chrono>
#include <gtest/gtest.h>
#include <memory>

namespace hf::core {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using State = WorkerState;

class Worker {
 public:
  Worker() : machine(cells, 1) {}

  Worker& make_ready() {
    machine.tick(now);
    EXPECT_TRUE(machine.probed(now, ProbeResult::kAnswered).identify);
    EXPECT_TRUE(machine.identified(now, true).changed);
    EXPECT_EQ(machine.state(), State::kReady);
    return *this;
  }
  /// A stream that is being read and has just got a byte.
  Worker& with_stream() {
    cells->running = 1;
    cells->reading = 1;
    cells->progress(now);
    return *this;
  }
  /// Ticks every 50 ms, answering each probe as a worker in `mode` does; true when state became
  /// `goal`.
  bool run_until(State goal, Duration limit, ProbeResult answers) {
    for (const auto end = now + limit; now < end; now += milliseconds(50)) {
      if (machine.tick(now).probe) probe_sent = now;
      if (probe_sent) {
        const auto takes = answers == ProbeResult::kSilent ? milliseconds(400) : milliseconds(0);
        if (now >= *probe_sent + takes) {
          probe_sent.reset();
          ++probes;
          if (machine.probed(now, answers).probe) probe_sent = now;
        }
      }
      if (machine.state() == goal) return true;
    }
    return false;
  }

  std::shared_ptr<WorkerCells> cells = std::make_shared<WorkerCells>();
  WorkerMachine machine;
  Instant now = Instant{} + std::chrono::hours(1);
  std::optional<Instant> probe_sent;
  int probes = 0;
};

TEST(WorkerMachine, IsUsedOnlyWhenItIsKnownWhatItIs) {
  Worker worker;
  EXPECT_TRUE(worker.machine.tick(worker.now).probe);
  EXPECT_FALSE(worker.machine.tick(worker.now).probe);  // one at a time
  EXPECT_TRUE(worker.machine.probed(worker.now, ProbeResult::kAnswered).identify);
  EXPECT_EQ(worker.machine.state(), State::kStarting);
  worker.machine.identified(worker.now, true);
  EXPECT_EQ(worker.machine.state(), State::kReady);
}

TEST(WorkerMachine, AnEngineThatIsDownAtStartIsNoDeath) {
  Worker worker;
  worker.machine.tick(worker.now);
  worker.machine.probed(worker.now, ProbeResult::kRefused);
  EXPECT_EQ(worker.machine.state(), State::kDead);
  EXPECT_EQ(worker.machine.deaths(), 0U);
}

TEST(WorkerMachine, AFailedIdentificationIsTriedAgain) {
  Worker worker;
  worker.machine.tick(worker.now);
  worker.machine.probed(worker.now, ProbeResult::kAnswered);
  EXPECT_FALSE(worker.machine.identified(worker.now, false).changed);
  EXPECT_EQ(worker.machine.state(), State::kStarting);
  EXPECT_TRUE(worker.machine.tick(worker.now + milliseconds(750)).probe);
}

TEST(WorkerMachine, DiesAtTheFirstRefusedConnection) {
  Worker worker;
  worker.make_ready().with_stream();
  EXPECT_TRUE(worker.machine.attempt_failed(worker.now, Reason::kConnect).changed);
  EXPECT_EQ(worker.machine.state(), State::kDead);
  EXPECT_EQ(worker.machine.deaths(), 1U);
  // All failures of one death count once.
  EXPECT_FALSE(worker.machine.attempt_failed(worker.now, Reason::kConnect).changed);
  EXPECT_FALSE(worker.machine.attempt_failed(worker.now, Reason::kReset).changed);
  EXPECT_EQ(worker.machine.deaths(), 1U);
}

TEST(WorkerMachine, AReportOfAnAttemptProbesAtOnceAndARefusalThenKills) {
  Worker worker;
  worker.make_ready();
  const auto wish = worker.machine.attempt_failed(worker.now, Reason::kReset);
  EXPECT_TRUE(wish.probe);
  EXPECT_FALSE(wish.changed);
  EXPECT_TRUE(worker.machine.probed(worker.now, ProbeResult::kRefused).changed);
  EXPECT_EQ(worker.machine.state(), State::kDead);
}

TEST(WorkerMachine, AFrozenOneIsDeadWithinTwoSeconds) {
  Worker worker;
  worker.make_ready().with_stream();
  const auto frozen = worker.now;
  EXPECT_TRUE(worker.run_until(State::kDead, seconds(5), ProbeResult::kSilent));
  EXPECT_LE(worker.now - frozen, milliseconds(2'000));
  EXPECT_GE(worker.now - frozen,
            milliseconds(1'800));  // not before two probes were given their time
  EXPECT_EQ(worker.machine.last_reason(), "silent");
}

TEST(WorkerMachine, AnIdleOneIsGivenAThirdProbe) {
  Worker worker;
  worker.make_ready();
  EXPECT_TRUE(worker.run_until(State::kDead, seconds(10), ProbeResult::kSilent));
  EXPECT_EQ(worker.probes, 3);
}

TEST(WorkerMachine, AnUnansweredProbeMeansNothingWhileStreamsFlow) {
  Worker worker;
  worker.make_ready().with_stream();
  for (int i = 0; i < 100; ++i) {
    worker.cells->progress(worker.now);
    EXPECT_FALSE(worker.run_until(State::kDead, milliseconds(100), ProbeResult::kSilent));
  }
}

TEST(WorkerMachine, AliveButSilentIsSuspectUntilSomethingMoves) {
  Worker worker;
  worker.make_ready().with_stream();
  const auto since = worker.now;
  EXPECT_TRUE(worker.run_until(State::kSuspect, seconds(5), ProbeResult::kAnswered));
  EXPECT_LE(worker.now - since, milliseconds(1'100));
  EXPECT_FALSE(worker.run_until(State::kReady, seconds(30), ProbeResult::kAnswered));
  worker.cells->progress(worker.now);
  EXPECT_TRUE(worker.run_until(State::kReady, milliseconds(100), ProbeResult::kAnswered));
  EXPECT_EQ(worker.machine.deaths(), 0U);
}

TEST(WorkerMachine, ASuspectThatLostAllItsStreamsIsTriedAgain) {
  Worker worker;
  worker.make_ready().with_stream();
  worker.run_until(State::kSuspect, seconds(5), ProbeResult::kAnswered);
  worker.cells->running = 0;
  worker.cells->reading = 0;
  EXPECT_FALSE(worker.run_until(State::kReady, seconds(9), ProbeResult::kAnswered));
  EXPECT_TRUE(worker.run_until(State::kReady, seconds(2), ProbeResult::kAnswered));
}

TEST(WorkerMachine, TheLastOneIsUsedAgainAsSoonAsItAnswers) {
  Worker worker;
  worker.make_ready().with_stream();
  worker.run_until(State::kSuspect, seconds(5), ProbeResult::kAnswered);
  worker.cells->running = 0;
  worker.cells->reading = 0;
  worker.machine.set_is_last(true);
  // Its answer from before it became suspect proves nothing.
  EXPECT_FALSE(worker.run_until(State::kReady, milliseconds(300), ProbeResult::kAnswered));
  EXPECT_TRUE(worker.run_until(State::kReady, milliseconds(1'500), ProbeResult::kAnswered));
}

TEST(WorkerMachine, ASilenceThatProvedHarmlessIsNotSuspectedAgain) {
  Worker worker;
  worker.make_ready().with_stream();
  worker.run_until(State::kSuspect, seconds(5), ProbeResult::kAnswered);
  worker.now += milliseconds(200);
  worker.cells->progress(worker.now);
  EXPECT_TRUE(worker.run_until(State::kReady, milliseconds(100), ProbeResult::kAnswered));
  // It was silent for a bit more than a second: now two are needed, for a minute.
  EXPECT_GT(worker.machine.silence_threshold(), seconds(2));
  EXPECT_FALSE(worker.run_until(State::kSuspect, milliseconds(1'900), ProbeResult::kAnswered));
  EXPECT_TRUE(worker.run_until(State::kSuspect, seconds(2), ProbeResult::kAnswered));
  worker.cells->progress(worker.now + milliseconds(1));
  worker.run_until(State::kReady, milliseconds(200), ProbeResult::kAnswered);
  worker.cells->reading = 0;
  worker.run_until(State::kDead, seconds(61), ProbeResult::kAnswered);
  EXPECT_EQ(worker.machine.silence_threshold(), seconds(1));
}

TEST(WorkerMachine, ASlowOneIsSlowUntilItsPaceIsGoodAgain) {
  Worker worker;
  worker.make_ready().with_stream();
  const Pace slow{.median = milliseconds(600), .gaps = 30};
  const Pace fast{.median = milliseconds(15), .gaps = 30};
  EXPECT_TRUE(worker.machine.compared(worker.now, slow, milliseconds(10)).changed);
  EXPECT_EQ(worker.machine.state(), State::kSlow);
  // Silence of a slow one is still looked at, and after that it is slow again, not ready.
  EXPECT_TRUE(worker.run_until(State::kSuspect, seconds(5), ProbeResult::kAnswered));
  worker.now += milliseconds(10);
  worker.cells->progress(worker.now);
  EXPECT_TRUE(worker.run_until(State::kSlow, milliseconds(200), ProbeResult::kAnswered));
  worker.now += seconds(60);
  EXPECT_FALSE(worker.machine.compared(worker.now, fast, milliseconds(10)).changed);
  worker.now += seconds(10);
  EXPECT_TRUE(worker.machine.compared(worker.now, fast, milliseconds(10)).changed);
  EXPECT_EQ(worker.machine.state(), State::kReady);
}

TEST(WorkerMachine, AfterAPauseOfOursNoPaceIsCompared) {
  Worker worker;
  worker.make_ready().with_stream();
  const Pace slow{.median = milliseconds(600), .gaps = 30};
  worker.machine.restart_clocks(worker.now, seconds(3));
  worker.now += milliseconds(3999);
  EXPECT_FALSE(worker.machine.compared(worker.now, slow, milliseconds(10)).changed);
  worker.now += milliseconds(1);
  EXPECT_TRUE(worker.machine.compared(worker.now, slow, milliseconds(10)).changed);
}

TEST(WorkerMachine, ALittleLatenessOfOursDoesNotHideASlowWorker) {
  Worker worker;
  worker.make_ready().with_stream();
  const Pace slow{.median = milliseconds(600), .gaps = 30};
  worker.machine.restart_clocks(worker.now, milliseconds(999));
  EXPECT_TRUE(worker.machine.compared(worker.now, slow, milliseconds(10)).changed);
}

TEST(WorkerMachine, SlownessTakesAtMostHalfOfAModelsWorkers) {
  Worker worker;
  worker.make_ready().with_stream();
  worker.machine.set_may_eject(false);
  const Pace slow{.median = milliseconds(600), .gaps = 30};
  EXPECT_FALSE(worker.machine.compared(worker.now, slow, milliseconds(10)).changed);
  EXPECT_EQ(worker.machine.state(), State::kReady);
}

TEST(WorkerMachine, ASuspectThatStopsAnsweringDies) {
  Worker worker;
  worker.make_ready().with_stream();
  worker.run_until(State::kSuspect, seconds(5), ProbeResult::kAnswered);
  EXPECT_TRUE(worker.run_until(State::kDead, seconds(3), ProbeResult::kSilent));
}

TEST(WorkerMachine, SilenceIsJudgedByItsOwnPaceAndWhatItOwes) {
  Worker worker;
  EXPECT_EQ(worker.machine.silence_threshold(), seconds(1));  // 10 × 100 ms until it is known
  for (int i = 0; i < 200; ++i) worker.cells->itl.add(worker.now, milliseconds(300));
  EXPECT_GE(worker.machine.silence_threshold(), seconds(3));
  EXPECT_LE(worker.machine.silence_threshold(), milliseconds(3'800));
  worker.cells->prefill_rate = 1'000;
  worker.cells->prefill_owed = 2'000;
  EXPECT_GE(worker.machine.silence_threshold(), seconds(5));
  worker.cells->prefill_owed = 1'000'000;
  EXPECT_EQ(worker.machine.silence_threshold(), seconds(10));  // never more
}

TEST(WorkerMachine, AFastOneIsStillGivenASecond) {
  Worker worker;
  for (int i = 0; i < 200; ++i) worker.cells->itl.add(worker.now, milliseconds(2));
  EXPECT_EQ(worker.machine.silence_threshold(), seconds(1));
}

TEST(WorkerMachine, StreamsThatNobodyReadsAreNotSilent) {
  Worker worker;
  worker.make_ready().with_stream();
  worker.cells->reading = 0;  // slow clients
  EXPECT_FALSE(worker.run_until(State::kSuspect, seconds(20), ProbeResult::kAnswered));
}

TEST(WorkerMachine, OurOwnLatenessProvesNothing) {
  Worker worker;
  worker.make_ready().with_stream();
  EXPECT_TRUE(worker.machine.tick(worker.now + milliseconds(1'050)).probe);
  worker.now += seconds(4);  // our process stood still
  worker.machine.restart_clocks(worker.now);
  EXPECT_FALSE(worker.machine.probed(worker.now, ProbeResult::kInconclusive).changed);
  EXPECT_EQ(worker.machine.state(), State::kReady);
  EXPECT_TRUE(worker.machine.tick(worker.now).probe);  // its turn has come, that is all
  worker.machine.probed(worker.now, ProbeResult::kAnswered);
  EXPECT_EQ(worker.machine.state(), State::kReady);
}

TEST(WorkerMachine, ErrorsOpenTheBreakerAndOneGoodProbeClosesIt) {
  Worker worker;
  worker.make_ready();
  EXPECT_FALSE(worker.machine.attempt_failed(worker.now, Reason::kHttp5xx).changed);
  EXPECT_FALSE(worker.machine.attempt_failed(worker.now, Reason::kHttp5xx).changed);
  EXPECT_TRUE(worker.machine.attempt_failed(worker.now, Reason::kHttp5xx).changed);
  EXPECT_EQ(worker.machine.state(), State::kEjected);
  worker.machine.probed(worker.now,
                        ProbeResult::kAnswered);       // the probe that the failures had asked for
  EXPECT_EQ(worker.machine.state(), State::kEjected);  // comes too early to count
  EXPECT_FALSE(worker.machine.tick(worker.now + milliseconds(900)).probe);
  worker.now += milliseconds(1'050);
  EXPECT_TRUE(worker.machine.tick(worker.now).probe);
  worker.machine.probed(worker.now, ProbeResult::kAnswered);
  EXPECT_EQ(worker.machine.state(), State::kReady);
  EXPECT_EQ(worker.machine.deaths(), 0U);
}

TEST(WorkerMachine, TypedRefusalsAndClientErrorsNeverCount) {
  Worker worker;
  worker.make_ready();
  for (int i = 0; i < 20; ++i) {
    for (const auto reason :
         {Reason::kOverloaded, Reason::kRefused, Reason::kDead, Reason::kNone}) {
      const auto wish = worker.machine.attempt_failed(worker.now, reason);
      EXPECT_FALSE(wish.changed || wish.probe);
    }
  }
  EXPECT_EQ(worker.machine.state(), State::kReady);
}

TEST(WorkerMachine, SilenceAndErrorsTakeAtMostHalfOfAModelsWorkers) {
  Worker worker;
  worker.make_ready().with_stream();
  worker.machine.set_may_eject(false);
  EXPECT_FALSE(worker.run_until(State::kDead, seconds(10), ProbeResult::kSilent));
  for (int i = 0; i < 5; ++i) worker.machine.attempt_failed(worker.now, Reason::kHttp5xx);
  EXPECT_NE(worker.machine.state(), State::kEjected);
  worker.machine.set_may_eject(true);
  EXPECT_TRUE(worker.run_until(State::kDead, seconds(2), ProbeResult::kSilent));
}

TEST(WorkerMachine, ARefusalTakesMoreThanHalf) {
  Worker worker;
  worker.make_ready();
  worker.machine.set_may_eject(false);
  worker.machine.attempt_failed(worker.now, Reason::kConnect);
  EXPECT_EQ(worker.machine.state(), State::kDead);
}

TEST(WorkerMachine, ADeadOneIsProbedQuicklyAndIdentifiedAnew) {
  Worker worker;
  worker.make_ready();
  worker.machine.attempt_failed(worker.now, Reason::kConnect);
  const auto died = worker.now;
  while (!worker.machine.tick(worker.now).probe) worker.now += milliseconds(10);
  EXPECT_GE(worker.now - died, milliseconds(250));
  EXPECT_LE(worker.now - died, milliseconds(760));
  const auto wish = worker.machine.probed(worker.now, ProbeResult::kAnswered);
  EXPECT_TRUE(wish.identify);  // it may be another build or model now
  EXPECT_EQ(worker.machine.state(), State::kDead);
  worker.machine.identified(worker.now, true);
  EXPECT_EQ(worker.machine.state(), State::kReady);
  EXPECT_EQ(worker.machine.alive_at(), worker.now);
}

TEST(WorkerMachine, ComingBackClearsTheBreaker) {
  Worker worker;
  worker.make_ready();
  for (int i = 0; i < 3; ++i) worker.machine.attempt_failed(worker.now, Reason::kReset);
  EXPECT_EQ(worker.machine.state(), State::kEjected);
  worker.machine.probed(worker.now, ProbeResult::kRefused);
  EXPECT_EQ(worker.machine.state(), State::kDead);
  worker.now += seconds(1);
  worker.machine.tick(worker.now);
  worker.machine.probed(worker.now, ProbeResult::kAnswered);
  worker.machine.identified(worker.now, true);
  EXPECT_EQ(worker.machine.state(), State::kReady);
  EXPECT_FALSE(worker.machine.attempt_failed(worker.now, Reason::kReset).changed);
}

TEST(WorkerMachine, AnAnsweredProbeIsTold) {
  Worker worker;
  worker.make_ready();
  worker.now += seconds(2);
  worker.machine.tick(worker.now);
  EXPECT_TRUE(worker.machine.probed(worker.now, ProbeResult::kAnswered)
                  .changed);  // a verdict may wait for it
  EXPECT_EQ(worker.machine.alive_at(), worker.now);
}

// Found by poison_request under ASan: the probe under way at a death was reset, the verdict then
// took a second, and a request that kills engines was placed on a fourth one.
TEST(WorkerMachine, AProbeThatADeathResetsIsSentAgainAtOnce) {
  Worker worker;
  worker.make_ready().with_stream();
  EXPECT_TRUE(worker.machine.tick(worker.now + seconds(1)).probe);
  EXPECT_TRUE(worker.machine.probed(worker.now + seconds(1), ProbeResult::kReset).probe);
  EXPECT_TRUE(worker.machine.probed(worker.now + seconds(1), ProbeResult::kRefused).changed);
  EXPECT_EQ(worker.machine.state(), State::kDead);
}

}  // namespace
}  // namespace hf::core
