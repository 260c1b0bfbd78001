#include "chaos/link.hpp"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <gtest/gtest.h>

#include "net/clock.hpp"
#include "net/run_blocking.hpp"

namespace hf::chaos {
namespace {

constexpr Duration kLimit = std::chrono::seconds(60);

net::Task<void> send_hundred_bytes(net::Socket socket) {
  const std::string bytes(100, 'x');
  const auto buffer = net::asio::buffer(bytes);
  co_await net::asio::async_write(socket, buffer, net::tok);
}

/// Everything that a client gets through the link, and how it ended.
struct Got {
  std::string bytes;
  std::string end;
};

class LinkTest : public ::testing::Test {
 protected:
  LinkTest() {
    server_ = std::move(*http::Listener::open(core_, {.address = "127.0.0.1:0"}));
    server_->start(send_hundred_bytes);
    link_ = std::move(*Link::open(core_, server_->endpoint()));
    core_.start();
  }
  ~LinkTest() override {
    EXPECT_TRUE(net::run_blocking(core_, link_->stop(), kLimit));
    core_.stop();
    core_.join();
  }

  static net::Task<Got> fetch(LinkTest* self) {
    net::Socket socket(self->core_.io());
    const net::Tcp::endpoint to(net::asio::ip::make_address("127.0.0.1"),
                                self->link_->endpoint().port);
    Got got;
    const auto [refused] = co_await socket.async_connect(to, net::tok);
    if (refused) co_return Got{"", refused.message()};
    while (true) {
      std::array<char, 64> part{};
      const auto buffer = net::asio::buffer(part);
      const auto [error, count] = co_await socket.async_read_some(buffer, net::tok);
      got.bytes.append(part.data(), count);
      if (!error) continue;
      got.end = error == net::asio::error::eof ? "end" : error.message();
      co_return got;
    }
  }
  static net::Task<LinkCounters> set(LinkTest* self, LinkFault fault) {
    self->link_->set(fault);
    co_return self->link_->counters();
  }
  Got get() { return *net::run_blocking(core_, fetch(this), kLimit); }
  LinkCounters with(LinkFault fault) { return *net::run_blocking(core_, set(this, fault), kLimit); }

  net::Core core_{"test"};
  std::unique_ptr<http::Listener> server_;
  std::unique_ptr<Link> link_;
};

TEST_F(LinkTest, PassesEverythingAndCounts) {
  const auto got = get();
  EXPECT_EQ(got.bytes.size(), 100U);
  EXPECT_EQ(got.end, "end");
  const auto counters = with({});
  EXPECT_EQ(counters.bytes_down, 100U);
  EXPECT_EQ(counters.ended, 0U);
}

TEST_F(LinkTest, CutsAtTheByte) {
  with({.end_after_bytes = 37});
  const auto got = get();
  EXPECT_EQ(got.bytes.size(), 37U);
  EXPECT_EQ(got.end, "end");
  EXPECT_EQ(with({}).ended, 1U);
  EXPECT_EQ(get().bytes.size(), 100U) << "healed";
}

TEST_F(LinkTest, ResetsAtTheByte) {
  with({.end_after_bytes = 0, .is_reset = true});
  EXPECT_EQ(get().end, "Connection reset by peer");
  EXPECT_EQ(with({}).ended, 1U);
}

TEST_F(LinkTest, AStallHoldsAndHealsWithoutLoss) {
  with({.is_stalled = true});
  auto later = net::run_async(core_, fetch(this));
  const Instant limit = net::now() + kLimit;
  while (with({.is_stalled = true}).held == 0) ASSERT_LT(net::now(), limit);
  EXPECT_EQ(with({.is_stalled = true}).bytes_down, 0U);
  with({});
  EXPECT_EQ(later.get().bytes.size(), 100U);
}

}  // namespace
}  // namespace hf::chaos
