#include "net/signal.hpp"

#include <boost/asio/error.hpp>
#include <gtest/gtest.h>
#include <optional>
#include <signal.h>
#include <unistd.h>

#include "net/clock.hpp"
#include "net/errors.hpp"
#include "net/process_signals.hpp"
#include "net/run_blocking.hpp"
#include "net/ticker.hpp"

namespace hf::net {
namespace {

constexpr Duration kLimit = std::chrono::seconds(10);
constexpr Duration kShort = std::chrono::milliseconds(20);

struct OneCore : testing::Test {
  OneCore() { core.start(); }
  ~OneCore() override { end(); }
  void end() {
    core.stop();
    core.join();
  }
  Core core{"test"};
};

using SignalTest = OneCore;

Task<void> count_one(std::shared_ptr<Signal> signal, std::shared_ptr<int> woken) {
  co_await signal->wait();
  ++*woken;
}

Task<int> wake_three(Core& core) {
  auto signal = std::make_shared<Signal>(core);
  auto woken = std::make_shared<int>(0);
  for (int i = 0; i < 3; ++i) core.spawn(count_one(signal, woken), "test");
  while (!signal->has_waiters()) co_await sleep_until(core, now());
  signal->notify_all();
  EXPECT_EQ(*woken, 0) << "a waiter ran inside notify_all()";
  const Instant limit = now() + kLimit;
  while (*woken < 3 && now() < limit) co_await sleep_until(core, now());
  co_return *woken;
}

TEST_F(SignalTest, WakesEveryWaiterAfterTheCaller) {
  EXPECT_EQ(run_blocking(core, wake_three(core), kLimit), 3);
}

Task<bool> wait_in_vain(Core& core) {
  Signal signal(core);
  const Instant until = now() + kShort;
  const bool is_notified = co_await signal.wait_until(until);
  EXPECT_GE(now(), until);
  co_return is_notified;
}

TEST_F(SignalTest, TellsAPassedDeadline) {
  EXPECT_EQ(run_blocking(core, wait_in_vain(core), kLimit), false);
}

Task<bool> wait_notified(std::shared_ptr<Signal> signal) {
  co_return co_await signal->wait_until(now() + kLimit);
}

TEST_F(SignalTest, TellsANotificationBeforeTheDeadline) {
  auto signal = std::make_shared<Signal>(core);
  auto future = run_async(core, wait_notified(signal));
  core.post([&] { signal->notify_all(); });
  ASSERT_EQ(future.wait_for(kLimit), std::future_status::ready);
  EXPECT_TRUE(future.get());
}

Task<bool> wait_on(Signal* signal) {
  co_return co_await signal->wait_until(now() + kLimit);
}

TEST_F(SignalTest, ItsDestructionWakesTheWaiters) {
  std::optional<Signal> signal;
  signal.emplace(core);
  auto future = run_async(core, wait_on(&*signal));
  core.post([&] { signal.reset(); });
  ASSERT_EQ(future.wait_for(kLimit), std::future_status::ready);
  EXPECT_TRUE(future.get());
}

using TickerTest = OneCore;

TEST_F(TickerTest, CallsAgainAndAgainUntilStopped) {
  std::optional<Ticker> ticker;
  std::promise<void> third;
  int calls = 0;
  core.post([&] {
    ticker.emplace(core, kShort, [&](Instant at, Duration lag) {
      EXPECT_LE(at, now());
      EXPECT_GE(lag, Duration::zero());
      if (++calls == 3) {
        ticker->stop();
        third.set_value();
      }
    });
  });
  ASSERT_EQ(third.get_future().wait_for(kLimit), std::future_status::ready);
  std::promise<std::size_t> live;
  core.post([&] { ticker.reset(); });
  core.post([&] { live.set_value(core.tasks_live()); });
  EXPECT_EQ(live.get_future().get(), 0U);
  EXPECT_EQ(calls, 3);
}

TEST_F(TickerTest, TellsHowLateABlockedLoopIs) {
  constexpr Duration kBlocked = std::chrono::milliseconds(150);
  std::optional<Ticker> ticker;
  std::promise<Duration> seen;
  core.post([&] {
    ticker.emplace(core, std::chrono::milliseconds(10), [&](Instant, Duration lag) {
      ticker->stop();
      seen.set_value(lag);
    });
  });
  // Posted behind the ticker's start: holds the loop beyond the first tick.
  core.post([&] {
    core.post([&] {
      const Instant until = now() + kBlocked;
      while (now() < until) {
      }
    });
  });
  auto lag = seen.get_future();
  ASSERT_EQ(lag.wait_for(kLimit), std::future_status::ready);
  EXPECT_GT(lag.get(), std::chrono::milliseconds(100));
  end();  // before the ticker goes
}

using ProcessSignalsTest = OneCore;

TEST_F(ProcessSignalsTest, GivesTheNumberOfASignal) {
  ProcessSignals signals(core, {SIGUSR1, SIGUSR2});
  auto first = run_async(core, signals.wait());
  ASSERT_EQ(::kill(::getpid(), SIGUSR2), 0);
  ASSERT_EQ(first.wait_for(kLimit), std::future_status::ready);
  EXPECT_EQ(first.get(), SIGUSR2);
  auto second = run_async(core, signals.wait());
  core.post([&] { signals.cancel(); });
  ASSERT_EQ(second.wait_for(kLimit), std::future_status::ready);
  EXPECT_EQ(second.get(), 0);
  end();
}

TEST(Errors, EachKindHasItsCode) {
  namespace e = boost::asio::error;
  const auto code = [](auto error) {
    return to_error(boost::system::error_code(error), "test").code;
  };
  EXPECT_EQ(code(e::eof), Code::kClosed);
  EXPECT_EQ(code(e::connection_reset), Code::kReset);
  EXPECT_EQ(code(e::broken_pipe), Code::kReset);
  EXPECT_EQ(code(e::connection_refused), Code::kRefused);
  EXPECT_EQ(code(e::timed_out), Code::kTimeout);
  EXPECT_EQ(code(e::operation_aborted), Code::kCancelled);
  EXPECT_EQ(code(e::host_not_found), Code::kUnavailable);
  EXPECT_EQ(code(e::no_descriptors), Code::kSystem);
  const Error error = to_error(boost::system::error_code(e::connection_refused), "connect to a:1");
  EXPECT_EQ(error.retry, Retry::kOtherWorker);
  EXPECT_EQ(error.detail.rfind("connect to a:1: ", 0), 0U);
}

}  // namespace
}  // namespace hf::net
