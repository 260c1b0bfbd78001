// Requests whose answers go on byte by byte.
#include "core/request_machine.hpp"
#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

class Relayed : public testing::Test {
 protected:
  Relayed() {
    bench.spec.stream = false;
    bench.spec.relayed = true;
  }
  RequestMachine& start() {
    auto& machine = bench.start();
    EXPECT_EQ(bench.log(), Log{"open 1@0 first whole"});
    return machine;
  }
  Bench bench;
};

TEST_F(Relayed, GoesOnFromItsFirstBytesAndCompletesAtItsEnd) {
  auto& machine = start();
  machine.on_head(bench.now, 1);
  EXPECT_FALSE(machine.has_sent());
  machine.on_bytes(bench.now, 1);
  machine.on_bytes(bench.now, 1);
  EXPECT_TRUE(machine.has_sent());
  machine.on_end(bench.now, 1);
  EXPECT_EQ(bench.log(), (Log{"begin 1", "complete"}));
}

TEST_F(Relayed, AWholeAnswerIsRelayedAtOnce) {
  start().on_whole(bench.now, 1);
  EXPECT_EQ(bench.log(), Log{"relay 1"});
}

TEST_F(Relayed, RestartsElsewhereBeforeItsFirstByte) {
  for (const auto reason :
       {Reason::kConnect, Reason::kReset, Reason::kProtocol, Reason::kEarlyEnd}) {
    Bench other;
    other.spec = bench.spec;
    other.start();
    other.machine().on_head(other.now, 1);
    other.log();
    other.failed(1, reason);
    EXPECT_EQ(other.log(), (Log{"report 0 " + std::string(to_string(reason)), "cancel 1",
                                "open 2@1 restart whole"}));
  }
}

TEST_F(Relayed, AnEmptyEndIsAFailureOfTheAttempt) {
  start().on_end(bench.now, 1);
  EXPECT_EQ(bench.log(), (Log{"report 0 early_end", "cancel 1", "open 2@1 restart whole"}));
}

TEST_F(Relayed, FailsAfterItsFirstByte) {
  auto& machine = start();
  machine.on_bytes(bench.now, 1);
  bench.failed(1);
  EXPECT_EQ(bench.log(),
            (Log{"begin 1", "report 0 reset", "cancel 1", "fail 502 upstream_failed"}));
}

TEST_F(Relayed, WhatMustNotBeDoneTwiceIsNotSentAgainOnceItWasSent) {
  bench.spec.repeatable = false;
  start();
  bench.failed(1, Reason::kReset);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "fail 502 upstream_failed"}));
}

TEST_F(Relayed, WhatWasNeverTakenIsSentAgainWhateverItIs) {
  bench.spec.repeatable = false;
  auto& machine = start();
  bench.failed(1, Reason::kConnect);
  EXPECT_EQ(bench.log(), (Log{"report 0 connect", "cancel 1", "open 2@1 restart whole"}));
  machine.on_status(bench.now, 2, 503, {});
  bench.run(seconds(2));
  EXPECT_EQ(bench.log().back(), "open 3@0 restart whole");
}

TEST_F(Relayed, RedirectsAndPartsAreNoAnswers) {
  for (const int status : {204, 206, 301, 307}) {
    Bench other;
    other.spec = bench.spec;
    other.start();
    other.log();
    other.machine().on_status(other.now, 1, status, {});
    EXPECT_EQ(other.log(), (Log{"report 0 protocol", "cancel 1", "open 2@1 restart whole"}));
  }
}

TEST_F(Relayed, NonsenseFromEverybodyIsTheirFaultNotALackOfWorkers) {
  bench.options.admission_hold = std::chrono::minutes(1);
  start();
  for (AttemptId id = 1; !bench.machine().is_done() && id < 10; ++id) {
    bench.failed(id, Reason::kProtocol);
    bench.run(seconds(3));
  }
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

TEST_F(Relayed, AStallAfterItsFirstByteEndsIt) {
  auto& machine = start();
  machine.on_bytes(bench.now, 1);
  bench.run(seconds(29));
  machine.on_bytes(bench.now, 1);
  bench.run(seconds(29));
  EXPECT_FALSE(machine.is_done());
  bench.run(seconds(2));
  EXPECT_TRUE(machine.is_done());
  EXPECT_EQ(bench.actions.last_error.code, "upstream_failed");
}

TEST_F(Relayed, ASlowClientStopsTheClock) {
  auto& machine = start();
  machine.on_bytes(bench.now, 1);
  machine.on_paused(bench.now, 1, true);
  bench.run(std::chrono::minutes(10));
  EXPECT_FALSE(machine.is_done());
  machine.on_paused(bench.now, 1, false);
  bench.run(seconds(31));
  EXPECT_TRUE(machine.is_done());
}

}  // namespace
}  // namespace hf::core
