#include "http/fetch.hpp"

#include <gtest/gtest.h>
#include <optional>
#include <utility>
#include <vector>

#include "http/raw_socket_for_tests.hpp"
#include "net/clock.hpp"
#include "net/run_blocking.hpp"

namespace hf::http {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

class FetchTest : public testing::Test {
 protected:
  FetchTest() {
    endpoint_.host = "127.0.0.1";
    endpoint_.port = listener_.port();
    core_.start();
    make_pool({});
  }
  ~FetchTest() override {
    core_.stop();
    core_.join();
  }
  template <class Function>
  void on_core(Function fn) {
    std::promise<void> done;
    core_.post([&] {
      fn();
      done.set_value();
    });
    done.get_future().get();
  }
  void make_pool(PoolLimits limits) {
    on_core([&] { pool_.emplace(core_, limits); });
  }
  std::future<Result<Response>> start(std::string body = "", Duration limit = kTestLimit,
                                      std::size_t bytes_max = 1000) {
    FetchRequest request;
    request.method = body.empty() ? "GET" : "POST";
    request.target = "/path";
    request.body = std::move(body);
    return net::run_async(
        core_, fetch(*pool_, endpoint_, std::move(request), net::now() + limit, bytes_max));
  }
  Result<Response> finish(std::future<Result<Response>> future) {
    EXPECT_EQ(future.wait_for(kTestLimit), std::future_status::ready);
    return future.get();
  }
  std::size_t idle_count() {
    std::size_t count = 0;
    on_core([&] { count = pool_->idle_count(); });
    return count;
  }

  net::Core core_{"test"};
  RawListener listener_;
  Endpoint endpoint_;
  std::optional<Pool> pool_;
};

TEST_F(FetchTest, SendsARequestAndGivesTheAnswer) {
  auto future = start("some body");
  auto peer = listener_.accept();
  const std::string request = peer.read_until("some body");
  EXPECT_EQ(request.rfind("POST /path HTTP/1.1\r\n", 0), 0U);
  EXPECT_NE(request.find("host: " + endpoint_.to_string() + "\r\n"), std::string::npos);
  EXPECT_NE(request.find("content-length: 9\r\n"), std::string::npos);
  peer.send("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\nx-a: b\r\n\r\nbody");
  const auto response = finish(std::move(future));
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 404);
  EXPECT_EQ(response->body, "body");
  EXPECT_EQ(response->headers.find("x-a"), "b");
}

TEST_F(FetchTest, ReusesTheConnection) {
  auto next = start();
  auto peer = listener_.accept();
  for (int i = 0; i < 3; ++i) {
    if (i > 0) next = start();
    peer.read_until("\r\n\r\n");
    peer.send(kOk);
    EXPECT_TRUE(finish(std::move(next)).has_value());
  }
  EXPECT_EQ(idle_count(), 1U);
  EXPECT_FALSE(listener_.has_waiting());
}

TEST_F(FetchTest, ReadsEveryFraming) {
  const std::vector<std::string> answers = {
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\n\r\nhello",
  };
  for (const auto& answer : answers) {
    auto future = start();
    auto peer = listener_.accept();
    peer.read_until("\r\n\r\n");
    for (const char byte : answer) peer.send(std::string_view(&byte, 1));
    peer.close();
    const auto response = finish(std::move(future));
    ASSERT_TRUE(response.has_value()) << answer;
    EXPECT_EQ(response->body, "hello");
    on_core([&] { pool_->drop_all(endpoint_); });
  }
}

TEST_F(FetchTest, AConnectionThatWasClosedWhileIdleIsNotTaken) {
  auto first = start();
  auto peer = listener_.accept();
  peer.read_until("\r\n\r\n");
  peer.send(kOk);
  EXPECT_TRUE(finish(std::move(first)).has_value());
  peer.close();
  auto second = start();
  auto other = listener_.accept();
  other.read_until("\r\n\r\n");
  other.send(kOk);
  EXPECT_TRUE(finish(std::move(second)).has_value());
}

TEST_F(FetchTest, AReusedConnectionThatEndsBeforeTheAnswerIsTriedOnceMore) {
  auto first = start();
  auto peer = listener_.accept();
  peer.read_until("\r\n\r\n");
  peer.send(kOk);
  EXPECT_TRUE(finish(std::move(first)).has_value());
  auto second = start("payload");
  peer.read_until("payload");  // it was reused, and now the idle-close race is lost
  peer.close();
  auto other = listener_.accept();
  other.read_until("payload");
  other.send(kOk);
  EXPECT_TRUE(finish(std::move(second)).has_value());
}

TEST_F(FetchTest, ANewConnectionThatEndsBeforeTheAnswerIsAFailure) {
  auto future = start();
  auto peer = listener_.accept();
  peer.read_until("\r\n\r\n");
  peer.close();
  const auto response = finish(std::move(future));
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().code, Code::kReset);
  EXPECT_FALSE(listener_.has_waiting());
}

TEST_F(FetchTest, AnAnswerThatHasBegunIsNotTriedAgain) {
  auto first = start();
  auto peer = listener_.accept();
  peer.read_until("\r\n\r\n");
  peer.send(kOk);
  EXPECT_TRUE(finish(std::move(first)).has_value());
  auto second = start();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe");
  peer.close();
  const auto response = finish(std::move(second));
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().code, Code::kReset);
  EXPECT_FALSE(listener_.has_waiting());
}

TEST_F(FetchTest, ASilentPeerEndsAtTheDeadline) {
  auto future = start("", milliseconds(30));
  auto peer = listener_.accept();
  const auto response = finish(std::move(future));
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().code, Code::kTimeout);
}

TEST_F(FetchTest, BoundsTheBody) {
  for (const std::string head :
       {"content-length: 11\r\n\r\n", "transfer-encoding: chunked\r\n\r\nb\r\n"}) {
    auto future = start("", kTestLimit, 10);
    auto peer = listener_.accept();
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\n" + head + "hello world");
    const auto response = finish(std::move(future));
    ASSERT_FALSE(response.has_value());
    EXPECT_EQ(response.error().code, Code::kTooLarge);
  }
}

TEST_F(FetchTest, NonsenseIsAProtocolError) {
  auto future = start();
  auto peer = listener_.accept();
  peer.read_until("\r\n\r\n");
  peer.send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  const auto response = finish(std::move(future));
  ASSERT_FALSE(response.has_value());
  EXPECT_EQ(response.error().code, Code::kProtocol);
}

net::Task<bool> connect_many(Pool* pool, Endpoint endpoint, int count) {
  std::vector<ClientConnection> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(pool->take_new(endpoint));
    const auto connected = co_await all.back().connect(net::now() + kTestLimit);
    EXPECT_TRUE(connected.has_value());
  }
  for (auto& connection : all) pool->give_back(std::move(connection));
  co_return true;
}

TEST_F(FetchTest, ThePoolIsBoundedAndTheLastInIsTheFirstOut) {
  PoolLimits limits;
  limits.idle_per_endpoint_max = 2;
  make_pool(limits);
  ASSERT_TRUE(net::run_blocking(core_, connect_many(&*pool_, endpoint_, 3), kTestLimit));
  EXPECT_EQ(idle_count(), 2U);
  auto oldest = listener_.accept();
  EXPECT_EQ(oldest.end_reason(), 0);
  auto middle = listener_.accept();
  auto newest = listener_.accept();
  auto future = start();
  newest.read_until("\r\n\r\n");
  newest.send(kOk);
  EXPECT_TRUE(finish(std::move(future)).has_value());
  on_core([&] { pool_->drop_all(endpoint_); });
  EXPECT_EQ(middle.end_reason(), 0);
  EXPECT_EQ(idle_count(), 0U);
}

TEST_F(FetchTest, OldIdleConnectionsAreClosed) {
  PoolLimits limits;
  limits.idle_max = milliseconds(30);
  make_pool(limits);
  auto future = start();
  auto peer = listener_.accept();
  peer.read_until("\r\n\r\n");
  peer.send(kOk);
  EXPECT_TRUE(finish(std::move(future)).has_value());
  EXPECT_EQ(peer.end_reason(), 0);
  EXPECT_EQ(idle_count(), 0U);
}

}  // namespace
}  // namespace hf::http
