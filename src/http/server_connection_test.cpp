#include "http/server_connection.hpp"

#include <atomic>
#include <future>
#include <gtest/gtest.h>
#include <thread>
#include <utility>
#include <vector>

#include "http/listener.hpp"
#include "http/raw_socket_for_tests.hpp"
#include "net/clock.hpp"
#include "net/run_blocking.hpp"

namespace hf::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A core with a listener whose connections run `serve`.
class ServerConnectionTest : public testing::Test {
 protected:
  using Serve = std::function<net::Task<void>(ServerConnection&)>;

  ServerConnectionTest() {
    ListenOptions options;
    options.address = "127.0.0.1:0";
    auto opened = Listener::open(core_, options);
    EXPECT_TRUE(opened.has_value());
    listener_ = std::move(*opened);
    listener_->start([this](net::Socket socket) { return run(this, std::move(socket)); });
    core_.start();
  }
  ~ServerConnectionTest() override {
    core_.stop();
    core_.join();
  }

  static net::Task<void> run(ServerConnectionTest* test, net::Socket socket) {
    ServerConnection connection(test->core_, std::move(socket));
    co_await test->serve_(connection);
  }

  std::uint16_t port() const { return listener_->endpoint().port; }

  // Waits until only the listener's task is left: no reader, writer or handler was leaked.
  bool is_all_over() {
    return net::run_blocking(core_, only_listener(&core_), 2 * kTestLimit) == true;
  }
  static net::Task<bool> only_listener(net::Core* core) {
    const Instant limit = net::now() + kTestLimit;
    while (core->tasks_live() > 2 && net::now() < limit) {
      co_await net::sleep_until(*core, net::now() + milliseconds(1));
    }
    co_return core->tasks_live() == 2;  // the listener and this one
  }

  net::Core core_{"test"};
  std::unique_ptr<Listener> listener_;
  Serve serve_;
  ReadLimits limits_;
};

std::string whole_response(std::string body) {
  std::string out;
  Response response;
  response.body = std::move(body);
  append_response(out, response, true);
  return out;
}

// Answers each request with "METHOD path query body", failures with their status.
net::Task<void> echo(ServerConnection& connection, ReadLimits limits) {
  while (true) {
    auto request = co_await connection.read_request(limits);
    if (!request) {
      if (request.error().status == 0) co_return;
      Response response;
      response.status = request.error().status;
      append_response(connection.out(), response, false);
      co_await connection.close_gracefully();
      co_return;
    }
    Response response;
    response.body = request->method + " " + request->path + " " + request->query + " " +
                    std::to_string(request->body.size()) + " " + request->body.substr(0, 100) + ";";
    append_response(connection.out(), response, request->keep_alive);
    connection.flush_now();
    if (!request->keep_alive) {
      co_await connection.close_gracefully();
      co_return;
    }
  }
}

class EchoTest : public ServerConnectionTest {
 protected:
  EchoTest() {
    serve_ = [this](ServerConnection& connection) { return echo(connection, limits_); };
  }
};

TEST_F(EchoTest, KeepsTheConnectionForTheNextRequest) {
  auto client = RawSocket::connect(port());
  client.send("GET /one?a=b HTTP/1.1\r\nhost: x\r\n\r\n");
  EXPECT_NE(client.read_until(";").find("GET /one a=b 0 "), std::string::npos);
  client.send("POST /two HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello");
  EXPECT_NE(client.read_until(";").find("POST /two  5 hello"), std::string::npos);
  client.close();
  EXPECT_TRUE(is_all_over());
}

TEST_F(EchoTest, ClosesInOrderWhenTheClientAskedForIt) {
  auto client = RawSocket::connect(port());
  client.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  const std::string answer = client.read_to_end();
  EXPECT_EQ(answer.rfind("HTTP/1.1 200 OK\r\n", 0), 0U);
  EXPECT_NE(answer.find("connection: close\r\n"), std::string::npos);
}

TEST_F(EchoTest, ServesPipelinedRequestsInOrder) {
  auto client = RawSocket::connect(port());
  std::string requests;
  for (int i = 0; i < 50; ++i) {
    requests +=
        "POST /" + std::to_string(i) + " HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
  }
  client.send(requests);
  for (int i = 0; i < 50; ++i) {
    EXPECT_NE(client.read_until(";").find("POST /" + std::to_string(i) + "  3 abc;"),
              std::string::npos);
  }
}

TEST_F(EchoTest, DecodesAChunkedBodyHoweverItIsSplit) {
  auto client = RawSocket::connect(port());
  const std::string request =
      "POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
      "5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\ntrailer: 1\r\n\r\n";
  for (const char byte : request) client.send(std::string_view(&byte, 1));
  EXPECT_NE(client.read_until(";").find("POST /c  11 hello world;"), std::string::npos);
  client.send(request);
  EXPECT_NE(client.read_until(";").find("POST /c  11 hello world;"), std::string::npos);
}

TEST_F(EchoTest, AnswersExpectContinueBeforeTheBody) {
  auto client = RawSocket::connect(port());
  client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_NE(client.read_until(";").find("POST /  2 ok;"), std::string::npos);
}

TEST_F(EchoTest, ReadsALargeBody) {
  auto client = RawSocket::connect(port());
  std::string body;
  body.resize(20'000'000, 'x');
  client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\n\r\n");
  client.send(body);
  EXPECT_NE(client.read_until(";").find("POST /  20000000 xxx"), std::string::npos);
}

struct LimitCase {
  const char* name;
  std::string bytes;
  std::string status;
};

class LimitsTest : public EchoTest, public testing::WithParamInterface<LimitCase> {};

TEST_P(LimitsTest, GivesTheRightStatusAndCloses) {
  limits_.head_bytes_max = 4096;
  limits_.body_bytes_max = 1000;
  limits_.head_max = milliseconds(50);
  limits_.body_progress_max = milliseconds(50);
  auto client = RawSocket::connect(port());
  client.send(GetParam().bytes);
  EXPECT_EQ(client.read_to_end().substr(0, 12), "HTTP/1.1 " + GetParam().status);
  client.close();
  EXPECT_TRUE(is_all_over());
}

INSTANTIATE_TEST_SUITE_P(
    All, LimitsTest,
    testing::Values(
        LimitCase{"Garbage", "what is this\r\n\r\n", "400"},
        LimitCase{"BareLf", "GET / HTTP/1.1\nhost: x\n\n", "400"},
        LimitCase{"TwoFramings",
                  "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n"
                  "transfer-encoding: chunked\r\n\r\n",
                  "400"},
        LimitCase{"BrokenChunk",
                  "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", "400"},
        LimitCase{"HeadTooLarge",
                  "GET / HTTP/1.1\r\nhost: x\r\na: " + std::string(5000, 'a') + "\r\n\r\n", "431"},
        LimitCase{"HeadWithoutEnd", "GET /" + std::string(5000, 'a'), "431"},
        LimitCase{"LengthTooLarge", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n",
                  "413"},
        LimitCase{"LengthTooLargeAndExpect",
                  "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n"
                  "expect: 100-continue\r\n\r\n",
                  "413"},
        LimitCase{"ChunksTooLarge",
                  "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n" +
                      std::string(1001, 'a') + "\r\n0\r\n\r\n",
                  "413"},
        LimitCase{"SlowHead", "GET / HTTP/1.1\r\nhost:", "408"},
        LimitCase{"SlowBody", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc",
                  "408"}),
    [](const auto& info) { return info.param.name; });

net::Task<void> record_failure(ServerConnection& connection, ReadLimits limits,
                               std::promise<ReadFailure>* failure) {
  auto request = co_await connection.read_request(limits);
  if (!request) failure->set_value(std::move(request.error()));
}

class FailureTest : public ServerConnectionTest {
 protected:
  FailureTest() {
    serve_ = [this](ServerConnection& connection) {
      return record_failure(connection, limits_, &failure_);
    };
  }
  ReadFailure failure() {
    auto future = failure_.get_future();
    EXPECT_EQ(future.wait_for(kTestLimit), std::future_status::ready);
    return future.get();
  }
  std::promise<ReadFailure> failure_;
};

TEST_F(FailureTest, ACloseBeforeTheFirstByteIsClosed) {
  RawSocket::connect(port()).close();
  const auto seen = failure();
  EXPECT_EQ(seen.status, 0);
  EXPECT_EQ(seen.error.code, Code::kClosed);
}

TEST_F(FailureTest, AnIdleClientIsLeftWithoutAnAnswer) {
  limits_.idle_max = milliseconds(20);
  auto client = RawSocket::connect(port());
  EXPECT_EQ(failure().error.code, Code::kClosed);
  EXPECT_EQ(client.read_to_end(), "");
}

TEST_F(FailureTest, ACutHeadOrBodyIsAReset) {
  auto client = RawSocket::connect(port());
  client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc");
  client.close();
  const auto seen = failure();
  EXPECT_EQ(seen.status, 0);
  EXPECT_EQ(seen.error.code, Code::kReset);
}

// Serves one request by waiting until the client has gone.
net::Task<void> wait_gone(ServerConnection& connection, std::promise<bool>* serving,
                          std::promise<bool>* callback) {
  auto request = co_await connection.read_request();
  connection.on_gone([callback] { callback->set_value(true); });
  serving->set_value(request.has_value());
  while (!connection.gone()) co_await connection.changed().wait();
}

class GoneTest : public ServerConnectionTest {
 protected:
  GoneTest() {
    serve_ = [this](ServerConnection& connection) {
      return wait_gone(connection, &serving_, &callback_);
    };
  }
  RawSocket client_being_served() {
    auto client = RawSocket::connect(port());
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    EXPECT_TRUE(serving_.get_future().get());
    return client;
  }
  std::promise<bool> serving_;
  std::promise<bool> callback_;
};

TEST_F(GoneTest, AnEndOfStreamIsNoticedWhileServing) {
  auto client = client_being_served();
  auto told = callback_.get_future();
  client.close();
  EXPECT_EQ(told.wait_for(kTestLimit), std::future_status::ready);
  EXPECT_TRUE(is_all_over());
}

TEST_F(GoneTest, AResetIsNoticedWhileServing) {
  auto client = client_being_served();
  auto told = callback_.get_future();
  client.reset();
  EXPECT_EQ(told.wait_for(kTestLimit), std::future_status::ready);
  EXPECT_TRUE(is_all_over());
}

TEST_F(GoneTest, WhatWasPipelinedBeforeDoesNotHideIt) {
  auto client = client_being_served();
  auto told = callback_.get_future();
  client.send("GET /next HTTP/1.1\r\nhost: x\r\n\r\n");
  client.close();
  EXPECT_EQ(told.wait_for(kTestLimit), std::future_status::ready);
}

// Ends while the client is still there: the callback must not come any more.
net::Task<void> leave(ServerConnection& connection, std::atomic<int>* calls) {
  auto request = co_await connection.read_request();
  connection.on_gone([calls] { ++*calls; });
}

TEST_F(EchoTest, ABodyThatDripsMakesNoProgress) {
  limits_.body_progress_max = milliseconds(200);
  auto client = RawSocket::connect(port());
  client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n");
  // A byte every millisecond is never 200 ms of silence.
  pollfd waiting{client.fd(), POLLIN, 0};
  const auto limit = net::now() + kTestLimit;
  do {
    client.send("x");
  } while (::poll(&waiting, 1, 1) == 0 && net::now() < limit);
  EXPECT_EQ(client.read_until("\r\n"), "HTTP/1.1 408 Request Timeout\r\n");
}

TEST_F(EchoTest, ABodyBeyondTheMemoryBudgetIsShed) {
  ByteBudget budget(2'000'000);
  limits_.budget = &budget;
  const std::string mega(1'000'000, 'x');
  const std::string head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ";
  auto first = RawSocket::connect(port());
  first.send(head + "1500000\r\n\r\n" + mega);
  while (budget.used() < 1'000'000) std::this_thread::yield();
  auto second = RawSocket::connect(port());
  second.send(head + "1000000\r\n\r\n" + mega);
  EXPECT_EQ(second.read_until("\r\n"), "HTTP/1.1 503 Service Unavailable\r\n");
  first.close();
  second.close();
  EXPECT_TRUE(is_all_over());
  EXPECT_EQ(budget.used(), 0);
}

// Serves one request with a probe for half-closed clients; tells when the client has gone.
net::Task<void> probe_client(ServerConnection& connection, std::promise<bool>* gone,
                             std::promise<void>* go_on) {
  auto request = co_await connection.read_request();
  connection.set_probe("HTTP/1.1 100 Continue\r\n\r\n");
  bool is_told = false;
  connection.on_gone([&is_told] { is_told = true; });
  auto may = go_on->get_future();
  while (!is_told && may.wait_for(seconds(0)) != std::future_status::ready) {
    co_await connection.changed().wait_until(net::now() + milliseconds(1));
  }
  connection.on_gone({});
  connection.set_probe({});
  gone->set_value(is_told && connection.gone());
  connection.out() += whole_response("answer;");
  connection.flush_now();
  co_await connection.close_gracefully();
}

class ProbeTest : public ServerConnectionTest {
 protected:
  ProbeTest() {
    serve_ = [this](ServerConnection& connection) {
      return probe_client(connection, &gone_, &go_on_);
    };
  }
  std::promise<bool> gone_;
  std::promise<void> go_on_;
};

TEST_F(ProbeTest, AHalfClosedClientIsAskedAndGetsItsAnswer) {
  auto client = RawSocket::connect(port());
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  client.shutdown_send();
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  go_on_.set_value();
  EXPECT_FALSE(gone_.get_future().get());
  EXPECT_NE(client.read_to_end().find("answer;"), std::string::npos);
  EXPECT_TRUE(is_all_over());
}

TEST_F(ProbeTest, AClosedClientIsGone) {
  auto client = RawSocket::connect(port());
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  client.close();
  auto gone = gone_.get_future();
  ASSERT_EQ(gone.wait_for(kTestLimit), std::future_status::ready);
  EXPECT_TRUE(gone.get());
  EXPECT_TRUE(is_all_over());
}

TEST_F(ProbeTest, AClientThatResetsAfterItsHalfCloseIsGone) {
  auto client = RawSocket::connect(port());
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  client.shutdown_send();
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.reset();
  auto gone = gone_.get_future();
  ASSERT_EQ(gone.wait_for(kTestLimit), std::future_status::ready);
  EXPECT_TRUE(gone.get());
  EXPECT_TRUE(is_all_over());
}

net::Task<void> cut_client(ServerConnection& connection, std::promise<bool>* told) {
  auto request = co_await connection.read_request();
  connection.on_gone([told] { told->set_value(true); });
  connection.cut();
  co_await net::sleep_until(connection.core(), net::now() + milliseconds(1));
}

TEST_F(ServerConnectionTest, ACutIsAResetForTheClientAndToldToTheOwner) {
  std::promise<bool> told;
  serve_ = [&told](ServerConnection& connection) { return cut_client(connection, &told); };
  auto client = RawSocket::connect(port());
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  EXPECT_EQ(client.end_reason(), ECONNRESET);
  EXPECT_EQ(told.get_future().wait_for(kTestLimit), std::future_status::ready);
  EXPECT_TRUE(is_all_over());
}

TEST_F(ServerConnectionTest, DestructionEndsTheReaderWithoutTheCallback) {
  std::atomic<int> calls = 0;
  serve_ = [&](ServerConnection& connection) { return leave(connection, &calls); };
  auto client = RawSocket::connect(port());
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  EXPECT_EQ(client.read_to_end(), "");
  EXPECT_TRUE(is_all_over());
  EXPECT_EQ(calls, 0);
}

net::Task<void> write_without_a_flush(ServerConnection& connection) {
  auto request = co_await connection.read_request();
  connection.out().append("all of it");
  EXPECT_EQ(connection.unsent(), 9U);
  EXPECT_FALSE(connection.stuck_since().has_value());
  co_await connection.close_gracefully();
}

TEST_F(ServerConnectionTest, WhatWasNotFlushedIsNoBacklog) {
  serve_ = write_without_a_flush;
  auto client = RawSocket::connect(port());
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  EXPECT_EQ(client.read_to_end(), "all of it");
  client.close();
  EXPECT_TRUE(is_all_over());
}

struct Backlog {
  std::promise<std::size_t> blocked;  // unsent bytes when nothing more went out
  std::promise<std::size_t> capacity;
  std::size_t unsent_max = 0;
};

// Writes numbered lines, at most 256 KiB ahead of the client, 8 MB in all.
net::Task<void> write_much(ServerConnection& connection, Backlog* backlog) {
  constexpr std::size_t kAhead = 256UL * 1024;
  auto request = co_await connection.read_request();
  bool was_blocked = false;
  for (int i = 0; i < 1'000'000; ++i) {
    std::string line = std::to_string(i);
    line.insert(0, 7 - line.size(), '0');
    connection.out().append(line).append("\n");
    if (i % 100 != 99) continue;
    connection.flush_now();
    backlog->unsent_max = std::max(backlog->unsent_max, connection.unsent());
    if (connection.unsent() <= kAhead) continue;
    const bool in_time = co_await connection.drained(kAhead / 2, net::now() + milliseconds(50));
    if (!in_time && !was_blocked) {
      was_blocked = true;
      EXPECT_TRUE(connection.stuck_since().has_value());
      backlog->blocked.set_value(connection.unsent());
      EXPECT_TRUE(co_await connection.drained(kAhead / 2, net::now() + kTestLimit));
    }
  }
  EXPECT_TRUE(co_await connection.drained(0, net::now() + kTestLimit));
  backlog->capacity.set_value(connection.out().capacity());
  co_await connection.close_gracefully();
}

TEST_F(ServerConnectionTest, AClientThatDoesNotReadHoldsABoundedBacklogAndLosesNothing) {
  Backlog backlog;
  serve_ = [&](ServerConnection& connection) { return write_much(connection, &backlog); };
  auto client = RawSocket::connect(port(), 4096);
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  auto blocked = backlog.blocked.get_future();
  ASSERT_EQ(blocked.wait_for(kTestLimit), std::future_status::ready);
  EXPECT_GT(blocked.get(), 0U);
  const std::string all = client.read_exactly(8'000'000);
  EXPECT_EQ(client.end_reason(), 0);
  bool is_right = all.size() == 8'000'000;
  for (std::size_t i = 0; is_right && i < 1'000'000; ++i) {
    is_right = std::stoul(all.substr(i * 8, 7)) == i;
  }
  EXPECT_TRUE(is_right);
  EXPECT_LE(backlog.capacity.get_future().get(), 64U * 1024);
  EXPECT_LE(backlog.unsent_max, 256U * 1024 + 1000);
  EXPECT_TRUE(is_all_over());
}

// Fills the socket and waits for the client.
net::Task<void> write_and_wait(ServerConnection& connection, std::promise<void>* full,
                               std::promise<bool>* drained) {
  auto request = co_await connection.read_request();
  while (connection.unsent() == 0) {
    connection.out().append(100'000, 'x');
    connection.flush_now();
  }
  full->set_value();
  drained->set_value(co_await connection.drained(0));
  connection.out().append("more");
  connection.flush_now();
  EXPECT_EQ(connection.unsent(), 0U);
  EXPECT_FALSE(connection.stuck_since().has_value());
}

TEST_F(ServerConnectionTest, AResetEndsAWaitForRoom) {
  std::promise<void> full;
  std::promise<bool> drained;
  serve_ = [&](ServerConnection& connection) {
    return write_and_wait(connection, &full, &drained);
  };
  auto client = RawSocket::connect(port(), 4096);
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  full.get_future().get();
  client.reset();
  auto future = drained.get_future();
  ASSERT_EQ(future.wait_for(kTestLimit), std::future_status::ready);
  EXPECT_FALSE(future.get());
  EXPECT_TRUE(is_all_over());
}

net::Task<void> answer_early(ServerConnection& connection) {
  ReadLimits limits;
  limits.body_bytes_max = 10;
  auto request = co_await connection.read_request(limits);
  connection.out() += whole_response("too much");
  co_await connection.close_gracefully();
}

TEST_F(ServerConnectionTest, AGracefulEndLetsTheClientReadWhileItStillSends) {
  serve_ = [](ServerConnection& connection) { return answer_early(connection); };
  auto client = RawSocket::connect(port());
  client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 30000\r\n\r\n");
  client.send(std::string(30'000, 'x'));
  const std::string answer = client.read_until("too much");
  EXPECT_EQ(answer.rfind("HTTP/1.1 200", 0), 0U);
  EXPECT_EQ(client.end_reason(), 0);
  client.close();
  EXPECT_TRUE(is_all_over());
}

net::Task<void> reset_at_once(ServerConnection& connection) {
  auto request = co_await connection.read_request();
  connection.reset();
  EXPECT_TRUE(connection.gone());
}

TEST_F(ServerConnectionTest, ResetIsAResetForTheClient) {
  serve_ = [](ServerConnection& connection) { return reset_at_once(connection); };
  auto client = RawSocket::connect(port());
  client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  EXPECT_EQ(client.end_reason(), ECONNRESET);
  EXPECT_TRUE(is_all_over());
}

}  // namespace
}  // namespace hf::http
