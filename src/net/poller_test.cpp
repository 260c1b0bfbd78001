#include "net/poller.hpp"

#include <array>
#include <gtest/gtest.h>
#include <memory>
#include <sys/socket.h>
#include <unistd.h>

#include "net/clock.hpp"
#include "net/core.hpp"
#include "net/descriptors.hpp"
#include "net/run_blocking.hpp"
#include "net/signal.hpp"

namespace hf::net {
namespace {

constexpr Duration kLimit = std::chrono::seconds(60);

// A pair of connected sockets; the second one is watched.
struct Pair {
  explicit Pair(Core& core) : watch(core) {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
  }
  ~Pair() { ::close(ends[0]); }
  void send() { EXPECT_EQ(::send(ends[0], "x", 1, MSG_NOSIGNAL), 1); }
  ssize_t take() {
    char byte = 0;
    return ::recv(watch.fd(), &byte, 1, MSG_DONTWAIT);
  }
  std::array<int, 2> ends{};
  Watch watch;
};

class PollerTest : public testing::Test {
 protected:
  PollerTest() { core_.start(); }
  ~PollerTest() override { core_.stop(); }
  void run(Task<void> task) { EXPECT_TRUE(run_blocking(core_, std::move(task), kLimit)); }
  Core core_{"test"};
};

Task<void> read_one_by_one(Core& core, int count) {
  Pair pair(core);
  pair.watch.open(pair.ends[1]);
  for (int i = 0; i < count; ++i) {
    core.post([&pair] { pair.send(); });
    co_await pair.watch.readable();
    EXPECT_EQ(pair.take(), 1);
    EXPECT_EQ(pair.take(), -1);
  }
  // Level-triggered: what was left is told again.
  pair.send();
  pair.send();
  co_await pair.watch.readable();
  EXPECT_EQ(pair.take(), 1);
  co_await pair.watch.readable();
  EXPECT_EQ(pair.take(), 1);
}

TEST_F(PollerTest, ResumesAReaderForEachThingThatComes) {
  run(read_one_by_one(core_, 100));
}

Task<void> read_after_it_came(Core& core) {
  Pair pair(core);
  pair.watch.open(pair.ends[1]);
  core.post([&pair] { pair.send(); });
  co_await pair.watch.readable();
  // Nobody waits now and it stays readable: the set must neither spin nor forget it.
  const Instant until = now() + std::chrono::milliseconds(20);
  while (now() < until) co_await sleep_until(core, now() + std::chrono::milliseconds(1));
  co_await pair.watch.readable();
  EXPECT_EQ(pair.take(), 1);
}

TEST_F(PollerTest, KeepsWhatCameWhileNobodyWaited) {
  run(read_after_it_came(core_));
}

Task<void> see_the_end(Core& core) {
  Pair pair(core);
  pair.watch.open(pair.ends[1]);
  core.post([&pair] { ::shutdown(pair.ends[0], SHUT_RDWR); });
  co_await pair.watch.readable();
  EXPECT_EQ(pair.take(), 0);
  pair.watch.close_later();
  EXPECT_FALSE(pair.watch.is_open());
}

TEST_F(PollerTest, ResumesAReaderAtTheEnd) {
  run(see_the_end(core_));
}

Task<void> fill_and_wait(Core& core) {
  Pair pair(core);
  pair.watch.open(pair.ends[1]);
  std::array<char, 4096> bytes{};
  while (::send(pair.watch.fd(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
  }
  core.post([&] {
    while (::recv(pair.ends[0], bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
    }
  });
  co_await pair.watch.writable();
  EXPECT_GT(::send(pair.watch.fd(), bytes.data(), 1, MSG_DONTWAIT), 0);
}

TEST_F(PollerTest, ResumesAWriterWhenThereIsRoom) {
  run(fill_and_wait(core_));
}

Task<void> wake_and_close(Core& core) {
  Pair pair(core);
  pair.watch.open(pair.ends[1]);
  core.post([&pair] { pair.watch.wake_reader(); });
  co_await pair.watch.readable();
  EXPECT_EQ(pair.take(), -1);
  core.post([&pair] { pair.watch.close(); });
  co_await pair.watch.readable();
  EXPECT_FALSE(pair.watch.is_open());
  co_await pair.watch.readable();  // closed: at once
}

TEST_F(PollerTest, WakingAndClosingResumeWhoWaits) {
  run(wake_and_close(core_));
}

Task<void> wait_for(std::shared_ptr<Pair> pair, std::shared_ptr<Pair> victim, int* resumed) {
  co_await pair->watch.readable();
  ++*resumed;
  victim->watch.close();  // ready in the same turn, perhaps: it must not be touched any more
  victim.reset();
}

Task<void> close_each_other(Core& core) {
  int resumed = 0;
  auto first = std::make_shared<Pair>(core);
  auto second = std::make_shared<Pair>(core);
  for (const auto& pair : {first, second}) {
    pair->watch.open(pair->ends[1]);
    pair->send();
  }
  core.spawn(wait_for(first, second, &resumed), "first");
  core.spawn(wait_for(second, first, &resumed), "second");
  const Instant until = now() + kLimit;
  while (resumed < 2 && now() < until) {
    co_await sleep_until(core, now() + std::chrono::milliseconds(1));
  }
  EXPECT_EQ(resumed, 2);
}

TEST_F(PollerTest, OneMayCloseAnotherOfTheSameTurn) {
  run(close_each_other(core_));
}

Task<void> wait_for_ever(std::shared_ptr<Pair> pair) {
  co_await pair->watch.readable();
  ADD_FAILURE() << "nothing came";
}

TEST(Poller, ACoreMayEndWhileSomebodyWaits) {
  std::weak_ptr<Pair> left;
  {
    Core core("test");
    core.start();
    auto pair = std::make_shared<Pair>(core);
    left = pair;
    core.spawn(
        [](std::shared_ptr<Pair> own) -> Task<void> {
          own->watch.open(own->ends[1]);
          auto waiting = wait_for_ever(own);
          co_await std::move(waiting);
        }(std::move(pair)),
        "waits");
    std::promise<void> begun;
    core.post([&begun] { begun.set_value(); });
    begun.get_future().get();
  }
  EXPECT_TRUE(left.expired());
}

TEST(Descriptors, ReservingLeavesNothingOpen) {
  const int before = ::dup(0);
  ASSERT_GE(before, 0);
  ::close(before);
  reserve_descriptors(1024);
  const int after = ::dup(0);
  ::close(after);
  EXPECT_EQ(after, before);
}

}  // namespace
}  // namespace hf::net
