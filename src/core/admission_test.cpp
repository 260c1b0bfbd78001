#include "core/admission.hpp"

#include <gtest/gtest.h>

#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

constexpr std::int64_t kMany = 1'000'000;

TEST(Admission, IsBoundedInRequestsAndInBytes) {
  AdmissionQueue queue;
  EXPECT_TRUE(queue.enter(10, 2, 100));
  EXPECT_FALSE(queue.enter(91, 2, 100));
  EXPECT_TRUE(queue.enter(90, 2, 100));
  EXPECT_FALSE(queue.enter(0, 2, 100));
  queue.enter_again(50);  // it had been let in before
  EXPECT_EQ(queue.waiting(), 3);
  queue.leave(50);
  queue.leave(90);
  EXPECT_TRUE(queue.enter(90, 2, 100));
}

TEST(Admission, RetryAfterFollowsTheMeasuredRate) {
  AdmissionQueue queue;
  Instant now = Instant{} + std::chrono::hours(1);
  EXPECT_EQ(queue.retry_after(now), seconds(2));  // nothing is known
  for (int i = 0; i < 99; ++i) queue.enter(1, kMany, kMany);
  for (int i = 0; i < 30; ++i, now += milliseconds(100)) queue.placed(now);
  EXPECT_EQ(queue.retry_after(now), seconds(10));  // 100 in the queue, 10 a second
  for (int i = 0; i < 900; ++i) queue.enter(1, kMany, kMany);
  EXPECT_EQ(queue.retry_after(now), seconds(30));
  for (int i = 0; i < 999; ++i) queue.leave(1);
  EXPECT_EQ(queue.retry_after(now), seconds(1));
  EXPECT_EQ(queue.retry_after(now + seconds(20)), seconds(2));  // it is stale
}

TEST(Admission, ARequestThatNobodyCanTakeWaitsInTheQueueAndLeavesIt) {
  AdmissionQueue queue;
  Bench bench;
  bench.admission = &queue;
  bench.view.workers[0].state = WorkerState::kDead;
  bench.view.workers[1].state = WorkerState::kDead;
  auto& machine = bench.start();
  EXPECT_TRUE(machine.is_queued());
  EXPECT_EQ(queue.waiting(), 1);
  bench.set_state(1, WorkerState::kReady);
  EXPECT_EQ(bench.log(), (Log{"open 1@1 first ids"}));
  EXPECT_FALSE(machine.is_queued());
  EXPECT_EQ(queue.waiting(), 0);
}

TEST(Admission, AFullQueueShedsAtOnce) {
  AdmissionQueue queue;
  Bench bench;
  bench.options.queue_max = 0;
  bench.admission = &queue;
  bench.view.workers[0].state = WorkerState::kDead;
  bench.view.workers[1].state = WorkerState::kDead;
  bench.start();
  EXPECT_EQ(bench.log(), (Log{"fail 503 queue_full"}));
  EXPECT_GE(bench.actions.last_error.retry_after, seconds(1));
  EXPECT_EQ(queue.waiting(), 0);
}

TEST(Admission, WithAWorkerFreeNothingIsShed) {
  AdmissionQueue queue;
  Bench bench;
  bench.options.queue_max = 0;
  bench.admission = &queue;
  bench.start();
  EXPECT_EQ(bench.log(), (Log{"open 1@0 first ids"}));
}

TEST(Admission, OneThatLostItsWorkerIsNotShed) {
  AdmissionQueue queue;
  Bench bench(1);
  bench.options.queue_max = 0;
  bench.admission = &queue;
  auto& machine = bench.start();
  bench.view.workers[0].state = WorkerState::kDead;
  bench.failed(1);
  bench.log();
  EXPECT_EQ(queue.waiting(), 1);
  EXPECT_TRUE(machine.is_queued());
  bench.run(seconds(6));
  EXPECT_EQ(bench.log(), (Log{"fail 503 no_worker"}));
  EXPECT_EQ(queue.waiting(), 0);
}

TEST(Admission, AStartedStreamIsNotInTheQueue) {
  AdmissionQueue queue;
  Bench bench(1);
  bench.admission = &queue;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.view.workers[0].state = WorkerState::kDead;
  bench.failed(1);
  EXPECT_EQ(machine.state(), RequestMachine::State::kWaiting);
  EXPECT_FALSE(machine.is_queued());
  EXPECT_EQ(queue.waiting(), 0);
}

TEST(Admission, AClientThatLeavesLeavesTheQueue) {
  AdmissionQueue queue;
  Bench bench(1);
  bench.admission = &queue;
  bench.view.workers[0].state = WorkerState::kDead;
  auto& machine = bench.start();
  EXPECT_EQ(queue.waiting(), 1);
  machine.on_client_gone(bench.now);
  EXPECT_EQ(queue.waiting(), 0);
}

}  // namespace
}  // namespace hf::core
