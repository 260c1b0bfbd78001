#include "net/core.hpp"

#include <gtest/gtest.h>
#include <stdexcept>
#include <vector>

#include "net/clock.hpp"
#include "net/run_blocking.hpp"
#include "net/signal.hpp"

namespace hf::net {
namespace {

constexpr Duration kLimit = std::chrono::seconds(10);

Task<int> answer(Core& core) {
  EXPECT_TRUE(core.is_this_thread());
  co_await sleep_until(core, now());
  co_return 42;
}

TEST(Core, RunsACoroutineOnItsThreadAndGivesItsValue) {
  Core core("test");
  core.start();
  EXPECT_FALSE(core.is_this_thread());
  EXPECT_EQ(run_blocking(core, answer(core), kLimit), 42);
}

TEST(Core, PostsFromOtherThreadsRunInOrder) {
  Core core("test");
  core.start();
  std::vector<int> seen;
  std::promise<void> done;
  for (int i = 0; i < 100; ++i) core.post([&seen, i] { seen.push_back(i); });
  core.post([&done] { done.set_value(); });
  ASSERT_EQ(done.get_future().wait_for(kLimit), std::future_status::ready);
  ASSERT_EQ(seen.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], i);
}

Task<void> wait_for_ever(std::shared_ptr<Signal> signal) {
  co_await signal->wait();
}

Task<void> nothing() {
  co_return;
}

// The task that asks counts too.
Task<bool> live_becomes(Core& core, std::size_t count) {
  const Instant limit = now() + kLimit;
  while (core.tasks_live() != count && now() < limit) {
    co_await sleep_until(core, now() + std::chrono::milliseconds(1));
  }
  co_return core.tasks_live() == count;
}

TEST(Core, CountsTasksThatHaveNotEnded) {
  Core core("test");
  auto signal = std::make_shared<Signal>(core);
  core.spawn(wait_for_ever(signal), "test");
  core.start();
  EXPECT_EQ(run_blocking(core, live_becomes(core, 2), 2 * kLimit), true);
  core.post([&] { signal->notify_all(); });
  EXPECT_EQ(run_blocking(core, live_becomes(core, 1), 2 * kLimit), true);
  core.stop();
  core.join();
}

TEST(Core, DestroysWaitingCoroutinesWithTheirLocals) {
  std::weak_ptr<Signal> watched;
  {
    Core core("test");
    auto signal = std::make_shared<Signal>(core);
    watched = signal;
    core.spawn(wait_for_ever(std::move(signal)), "test");
    core.start();
    ASSERT_TRUE(run_blocking(core, nothing(), kLimit));
    EXPECT_FALSE(watched.expired());
  }
  EXPECT_TRUE(watched.expired());
}

Task<void> throws_something() {
  throw std::runtime_error("a bug of ours");
  co_return;
}

TEST(CoreDeathTest, AnExceptionOutOfATaskIsFatalAndNamesIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Core core("test");
        core.spawn(throws_something(), "the faulty one");
        core.run();
      },
      "exception in task the faulty one: a bug of ours");
}

TEST(Clock, NeverStaysNever) {
  EXPECT_EQ(after(kNever, std::chrono::seconds(1)), kNever);
  EXPECT_EQ(after(now(), Duration::max()), kNever);
  EXPECT_EQ(to_steady(kNever), std::chrono::steady_clock::time_point::max());
  const Instant first = now();
  EXPECT_LE(first, now());
  EXPECT_EQ(to_steady(first).time_since_epoch(), first.time_since_epoch());
}

}  // namespace
}  // namespace hf::net
