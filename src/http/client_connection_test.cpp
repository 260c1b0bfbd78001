#include "http/client_connection.hpp"

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

Instant soon() {
  return net::now() + milliseconds(20);
}
Instant limit() {
  return net::now() + kTestLimit;
}

class ClientConnectionTest : public testing::Test {
 protected:
  ClientConnectionTest() { core_.start(); }
  ~ClientConnectionTest() override {
    core_.stop();
    core_.join();
  }
  Endpoint to(std::uint16_t port, std::string host = "127.0.0.1") {
    Endpoint endpoint;
    endpoint.host = std::move(host);
    endpoint.port = port;
    return endpoint;
  }
  // A connected pair.
  RawSocket connect() {
    on_core([this] { connection_.reset(); });  // an earlier one belongs to the core
    connection_.emplace(core_, to(listener_.port()));
    const auto connected = net::run_blocking(core_, connection_->connect(limit()), kTestLimit);
    EXPECT_TRUE(connected && connected->has_value());
    return listener_.accept();
  }
  template <class T>
  T value(std::future<T> future) {
    EXPECT_EQ(future.wait_for(kTestLimit), std::future_status::ready);
    return future.get();
  }
  // Runs `fn` on the core and waits for it.
  template <class Function>
  void on_core(Function fn) {
    std::promise<void> done;
    core_.post([&] {
      fn();
      done.set_value();
    });
    done.get_future().get();
  }

  net::Core core_{"test"};
  RawListener listener_;
  std::optional<ClientConnection> connection_;
  std::string got_;
};

TEST_F(ClientConnectionTest, SendsHeadAndBodyAndReadsWhatComes) {
  auto peer = connect();
  const std::string body = "the body";
  auto written = value(net::run_async(core_, connection_->write("head ", body, limit())));
  EXPECT_TRUE(written.has_value());
  EXPECT_EQ(peer.read_until("body"), "head the body");
  peer.send("answer");
  EXPECT_EQ(value(net::run_async(core_, connection_->read_some(got_, 4))), 4U);
  EXPECT_EQ(value(net::run_async(core_, connection_->read_some(got_))), 2U);
  EXPECT_EQ(got_, "answer");
}

TEST_F(ClientConnectionTest, ResolvesNames) {
  connection_.emplace(core_, to(listener_.port(), "localhost"));
  EXPECT_TRUE(value(net::run_async(core_, connection_->connect(limit()))).has_value());
}

TEST_F(ClientConnectionTest, ARefusedConnectSaysSo) {
  const auto port = listener_.port();
  listener_.close();
  connection_.emplace(core_, to(port));
  const auto connected = value(net::run_async(core_, connection_->connect(limit())));
  ASSERT_FALSE(connected.has_value());
  EXPECT_EQ(connected.error().code, Code::kRefused);
  EXPECT_EQ(connected.error().retry, Retry::kOtherWorker);
  EXPECT_FALSE(connection_->is_open());
}

// A listener whose queue is full: the kernel drops our SYN and the connect hangs.
struct FullListener {
  FullListener() : listener(0) {
    for (int i = 0; i < 4; ++i) {
      const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(listener.port());
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      // It never connects: that is what the test is about.
      std::ignore = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
      waiting.emplace_back(fd);
    }
  }
  RawListener listener;
  std::vector<RawSocket> waiting;
};

TEST_F(ClientConnectionTest, AConnectThatHangsEndsAtItsDeadline) {
  FullListener full;
  connection_.emplace(core_, to(full.listener.port()));
  const auto connected = value(net::run_async(core_, connection_->connect(soon())));
  ASSERT_FALSE(connected.has_value());
  EXPECT_EQ(connected.error().code, Code::kTimeout);
}

TEST_F(ClientConnectionTest, CloseCancelsAConnect) {
  FullListener full;
  connection_.emplace(core_, to(full.listener.port()));
  auto connected = net::run_async(core_, connection_->connect(limit()));
  core_.post([&] { connection_->close(); });
  const auto result = value(std::move(connected));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Code::kCancelled);
}

TEST_F(ClientConnectionTest, CloseCancelsARead) {
  auto peer = connect();
  auto read = net::run_async(core_, connection_->read_some(got_));
  core_.post([&] { connection_->close(); });
  const auto result = value(std::move(read));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Code::kCancelled);
  EXPECT_EQ(peer.end_reason(), 0);
}

TEST_F(ClientConnectionTest, DestructionCancelsARead) {
  auto peer = connect();
  auto read = net::run_async(core_, connection_->read_some(got_));
  core_.post([&] { connection_.reset(); });
  const auto result = value(std::move(read));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Code::kCancelled);
}

TEST_F(ClientConnectionTest, CloseCancelsAWriteThatNobodyReads) {
  auto peer = connect();
  std::string body;
  body.resize(64'000'000, 'x');
  auto write = net::run_async(core_, connection_->write("", body));
  core_.post([&] { connection_->close(); });
  const auto result = value(std::move(write));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Code::kCancelled);
}

TEST_F(ClientConnectionTest, AWriteThatNobodyReadsEndsAtItsDeadline) {
  auto peer = connect();
  std::string body;
  body.resize(64'000'000, 'x');
  const auto result = value(net::run_async(core_, connection_->write("", body, soon())));
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Code::kTimeout);
}

TEST_F(ClientConnectionTest, ReadingGoesOnAfterATimeout) {
  auto peer = connect();
  const auto first = value(net::run_async(core_, connection_->read_some(got_, 100, soon())));
  ASSERT_FALSE(first.has_value());
  EXPECT_EQ(first.error().code, Code::kTimeout);
  peer.send("late");
  EXPECT_EQ(value(net::run_async(core_, connection_->read_some(got_, 100, limit()))), 4U);
  EXPECT_EQ(got_, "late");
}

TEST_F(ClientConnectionTest, ATimeoutOfAReadDoesNotDisturbAWrite) {
  auto peer = connect();
  std::string body;
  body.resize(64'000'000, 'x');
  auto write = net::run_async(core_, connection_->write("", body, limit()));
  for (int i = 0; i < 3; ++i) {
    const auto read = value(net::run_async(core_, connection_->read_some(got_, 100, soon())));
    ASSERT_FALSE(read.has_value());
    EXPECT_EQ(read.error().code, Code::kTimeout);
  }
  EXPECT_EQ(peer.read_exactly(body.size()), body);
  EXPECT_TRUE(value(std::move(write)).has_value());
}

TEST_F(ClientConnectionTest, TellsAnEndFromAReset) {
  auto peer = connect();
  peer.send("x");
  peer.close();
  EXPECT_EQ(value(net::run_async(core_, connection_->read_some(got_))), 1U);
  const auto ended = value(net::run_async(core_, connection_->read_some(got_)));
  ASSERT_FALSE(ended.has_value());
  EXPECT_EQ(ended.error().code, Code::kClosed);

  auto other = connect();
  auto read = net::run_async(core_, connection_->read_some(got_));
  other.reset();
  const auto reset = value(std::move(read));
  ASSERT_FALSE(reset.has_value());
  EXPECT_EQ(reset.error().code, Code::kReset);
}

TEST_F(ClientConnectionTest, IdleAliveMeansNothingCameAndNobodyLeft) {
  auto peer = connect();
  EXPECT_TRUE(connection_->is_idle_alive());
  peer.send("unexpected");
  EXPECT_EQ(value(net::run_async(core_, connection_->read_some(got_, 1))), 1U);
  EXPECT_FALSE(connection_->is_idle_alive());
  EXPECT_EQ(value(net::run_async(core_, connection_->read_some(got_))), 9U);
  EXPECT_TRUE(connection_->is_idle_alive());
  auto ended = net::run_async(core_, connection_->read_some(got_));
  peer.close();
  EXPECT_FALSE(value(std::move(ended)).has_value());
  EXPECT_FALSE(connection_->is_idle_alive());
}

TEST_F(ClientConnectionTest, ResetIsAResetForThePeer) {
  auto peer = connect();
  on_core([&] { connection_->reset(); });
  EXPECT_EQ(peer.end_reason(), ECONNRESET);
}

TEST_F(ClientConnectionTest, OperationsAfterCloseAreCancelled) {
  auto peer = connect();
  on_core([&] { connection_->close(); });
  EXPECT_FALSE(connection_->is_open());
  const auto read = value(net::run_async(core_, connection_->read_some(got_)));
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, Code::kCancelled);
  const auto write = value(net::run_async(core_, connection_->write("head", "")));
  ASSERT_FALSE(write.has_value());
  EXPECT_EQ(write.error().code, Code::kCancelled);
}

}  // namespace
}  // namespace hf::http
