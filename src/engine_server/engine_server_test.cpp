#include "engine_server/engine_server.hpp"

#include <future>
#include <gtest/gtest.h>
#include <optional>
#include <utility>
#include <vector>

#include "http/raw_socket_for_tests.hpp"
#include "net/clock.hpp"
#include "net/run_blocking.hpp"
#include "net/signal.hpp"

namespace hf::engine_server {
namespace {

using http::RawSocket;
using simulator::ProcessAction;
using std::chrono::milliseconds;

std::string post(std::string_view path, std::string_view body, bool keep_alive = false) {
  std::string out = "POST " + std::string(path) + " HTTP/1.1\r\nhost: x\r\ncontent-length: ";
  out += std::to_string(body.size());
  out += keep_alive ? "\r\n\r\n" : "\r\nconnection: close\r\n\r\n";
  return out += body;
}

std::string get(std::string_view path) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
}

std::string completion(int max_tokens, std::string_view prompt = "The sea") {
  return R"({"model":"sim","prompt":")" + std::string(prompt) +
         R"(","temperature":0,"ignore_eos":true,"stream":true,"max_tokens":)" +
         std::to_string(max_tokens) + "}";
}

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) {
    ++found;
  }
  return found;
}

// The events without what differs between two answers.
std::string texts(std::string_view answer) {
  std::string all;
  constexpr std::string_view kText = "\"text\":\"";
  for (auto at = answer.find(kText); at != std::string_view::npos;
       at = answer.find(kText, at + 1)) {
    const auto begin = at + kText.size();
    all += answer.substr(begin, answer.find("\",\"", begin) - begin);
  }
  return all;
}

class EngineServerTest : public testing::TestWithParam<simulator::Dialect> {
 protected:
  void start(milliseconds itl = milliseconds(1)) {
    simulator::EngineApiOptions options;
    options.engine.dialect = GetParam();
    options.engine.slots = 128;
    options.engine.itl = itl;
    server_.emplace(core_, options, [this](ProcessAction action) { action_.set_value(action); });
    const auto bound = server_->listen("127.0.0.1:0");
    ASSERT_TRUE(bound.has_value());
    port_ = bound->port;
    core_.start();
  }
  ~EngineServerTest() override {
    core_.stop();
    core_.join();
  }
  bool is_vllm() const { return GetParam() == simulator::Dialect::kVllm; }

  RawSocket send(std::string_view request) {
    auto client = RawSocket::connect(port_);
    client.send(request);
    return client;
  }
  std::string ask(std::string_view request) { return send(request).read_to_end(); }
  void inject(std::string_view fault) {
    const auto answer = ask(post("/sim/fault", fault));
    EXPECT_EQ(answer.rfind("HTTP/1.1 200", 0), 0U) << answer;
  }
  // A stream that has begun and goes on for long.
  RawSocket long_stream() {
    auto client = send(post("/v1/completions", completion(3000)));
    client.read_until("\"text\"");
    return client;
  }
  bool becomes_idle() { return net::run_blocking(core_, idle(this), 2 * http::kTestLimit) == true; }
  static net::Task<bool> idle(EngineServerTest* test) {
    const Instant limit = net::now() + http::kTestLimit;
    const auto is_idle = [test] {
      return test->server_->model().counters().running == 0 && test->server_->connections() == 0;
    };
    while (!is_idle() && net::now() < limit) {
      co_await net::sleep_until(test->core_, net::now() + milliseconds(1));
    }
    co_return is_idle();
  }

  net::Core core_{"test"};
  std::promise<ProcessAction> action_;
  std::optional<EngineServer> server_;
  std::uint16_t port_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Dialects, EngineServerTest,
                         testing::Values(simulator::Dialect::kVllm, simulator::Dialect::kLlama),
                         [](const auto& info) {
                           return info.param == simulator::Dialect::kVllm ? "Vllm" : "Llama";
                         });

TEST_P(EngineServerTest, AnswersPages) {
  start();
  EXPECT_EQ(ask(get("/health")).rfind("HTTP/1.1 200 OK\r\n", 0), 0U);
  EXPECT_NE(ask(get("/v1/models")).find("\"sim\""), std::string::npos);
  EXPECT_EQ(ask(get("/nowhere")).rfind("HTTP/1.1 404", 0), 0U);
  EXPECT_EQ(ask("no http\r\n\r\n").rfind("HTTP/1.1 400", 0), 0U);
}

TEST_P(EngineServerTest, StreamsTheSameAnswerEveryTime) {
  start();
  const std::string first = ask(post("/v1/completions", completion(50)));
  const std::string second = ask(post("/v1/completions", completion(50)));
  EXPECT_EQ(first.rfind("HTTP/1.1 200 OK\r\n", 0), 0U);
  EXPECT_EQ(count(first, "data: [DONE]\n\n"), 1U);
  EXPECT_EQ(first.substr(first.size() - 5), "0\r\n\r\n");
  EXPECT_FALSE(texts(first).empty());
  EXPECT_EQ(texts(first), texts(second));
  EXPECT_TRUE(becomes_idle());
}

TEST_P(EngineServerTest, KeepsTheConnectionAfterAStream) {
  start();
  auto client = send(post("/v1/completions", completion(5), true));
  client.read_until("\n0\r\n\r\n");
  client.send(post("/v1/completions", completion(5)));
  EXPECT_EQ(count(client.read_to_end(), "data: [DONE]\n\n"), 1U);
}

TEST_P(EngineServerTest, WritesTokensAsTheyAreMadeNotAtTheEnd) {
  start(milliseconds(5));
  auto client = long_stream();
  client.read_until("\"text\"");
  EXPECT_NE(ask(get("/health")).find(" 200 "), std::string::npos);
  client.read_until("\"text\"");
  client.close();
  EXPECT_TRUE(becomes_idle());
}

TEST_P(EngineServerTest, AClientThatLeavesFreesItsSlot) {
  start(milliseconds(5));
  auto closed = long_stream();
  auto reset = long_stream();
  closed.close();
  reset.reset();
  EXPECT_TRUE(becomes_idle());
  std::promise<std::uint64_t> aborted;
  core_.post([&] { aborted.set_value(server_->model().counters().aborted); });
  EXPECT_EQ(aborted.get_future().get(), 2U);
}

TEST_P(EngineServerTest, AHundredStreamsAreAllRightAndWhole) {
  start();
  const std::string expected = texts(ask(post("/v1/completions", completion(100))));
  std::vector<RawSocket> clients;
  clients.reserve(100);
  for (int i = 0; i < 100; ++i) clients.push_back(send(post("/v1/completions", completion(100))));
  for (auto& client : clients) EXPECT_EQ(texts(client.read_to_end()), expected);
  EXPECT_TRUE(becomes_idle());
}

TEST_P(EngineServerTest, AClientThatDoesNotReadHindersNobody) {
  start();
  auto stuck = RawSocket::connect(port_, 4096);
  stuck.send(post("/v1/completions", completion(3000)));
  EXPECT_EQ(count(ask(post("/v1/completions", completion(200))), "data: [DONE]\n\n"), 1U);
  EXPECT_EQ(count(stuck.read_to_end(), "data: [DONE]\n\n"), 1U);
}

TEST_P(EngineServerTest, AFrozenEngineAnswersLater) {
  start();
  inject(R"({"kind":"freeze"})");
  auto waiting = send(get("/health"));
  inject(R"({"kind":"unfreeze"})");
  EXPECT_EQ(waiting.read_to_end().rfind("HTTP/1.1 200", 0), 0U);
}

TEST_P(EngineServerTest, StreamsAreResetOnDemand) {
  start(milliseconds(5));
  auto client = long_stream();
  inject(R"({"kind":"reset_streams"})");
  int reason = -1;
  while (reason == -1) reason = client.end_reason();
  EXPECT_EQ(reason, ECONNRESET);
  EXPECT_TRUE(becomes_idle());
}

TEST_P(EngineServerTest, StreamsEndEarlyWithoutAFinish) {
  start(milliseconds(5));
  auto client = long_stream();
  inject(R"({"kind":"early_end"})");
  const std::string rest = client.read_to_end();
  EXPECT_EQ(count(rest, "\"finish_reason\":\""), 0U);
  EXPECT_EQ(count(rest, "[DONE]"), 0U);
  client.close();
  EXPECT_TRUE(becomes_idle());
}

TEST_P(EngineServerTest, DyingIsTheProcessesBusiness) {
  start(milliseconds(5));
  auto client = long_stream();
  inject(R"({"kind":"die","how":"sigkill"})");
  auto action = action_.get_future();
  ASSERT_EQ(action.wait_for(http::kTestLimit), std::future_status::ready);
  EXPECT_EQ(action.get(), ProcessAction::kSigkill);
}

TEST_P(EngineServerTest, ShutsDownAsTheRealEngineDoes) {
  start(milliseconds(5));
  auto client = long_stream();
  EXPECT_TRUE(net::run_blocking(core_, server_->shut_down(), http::kTestLimit));
  const std::string rest = client.read_to_end();
  EXPECT_EQ(count(rest, "\"error\""), is_vllm() ? 1U : 0U);
  EXPECT_EQ(count(rest, "data: [DONE]"), is_vllm() ? 1U : 0U);
  EXPECT_EQ(rest.ends_with("0\r\n\r\n"), is_vllm());
}

}  // namespace
}  // namespace hf::engine_server
