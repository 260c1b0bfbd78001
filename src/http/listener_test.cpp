#include "http/listener.hpp"

#include <atomic>
#include <boost/asio/buffer.hpp>
#include <future>
#include <gtest/gtest.h>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "http/message.hpp"
#include "http/raw_socket_for_tests.hpp"
#include "http/server_connection.hpp"

namespace hf::http {
namespace {

ListenOptions on(std::string address) {
  ListenOptions options;
  options.address = std::move(address);
  return options;
}

TEST(Listener, ReportsTheBoundPort) {
  net::Core core("test");
  const auto listener = Listener::open(core, on("127.0.0.1:0"));
  ASSERT_TRUE(listener.has_value());
  EXPECT_EQ((*listener)->endpoint().host, "127.0.0.1");
  EXPECT_GT((*listener)->endpoint().port, 0);
}

TEST(Listener, TakesNames) {
  net::Core core("test");
  EXPECT_TRUE(Listener::open(core, on("localhost:0")).has_value());
}

TEST(Listener, SaysWhoIsInTheWayAndWhatToDo) {
  net::Core core("test");
  RawListener other;
  const std::string address = "127.0.0.1:" + std::to_string(other.port());
  const auto listener = Listener::open(core, on(address));
  ASSERT_FALSE(listener.has_value());
  EXPECT_EQ(listener.error().code, Code::kSystem);
  EXPECT_EQ(listener.error().detail, "cannot listen on " + address +
                                         ": address already in use; choose another with --listen");
}

TEST(Listener, RefusesWhatIsNoAddress) {
  net::Core core("test");
  for (const char* address : {"", "8000", "127.0.0.1", ":8000", "127.0.0.1:x", "127.0.0.1:70000",
                              "::1:80", "[::1]80", "a b:1"}) {
    const auto listener = Listener::open(core, on(address));
    ASSERT_FALSE(listener.has_value()) << address;
    EXPECT_EQ(listener.error().code, Code::kBadInput) << address;
    EXPECT_EQ(listener.error().detail.rfind("--listen: ", 0), 0U);
  }
}

net::Task<void> close_it(net::Socket socket, std::atomic<int>* accepted,
                         std::promise<void>* third) {
  if (++*accepted == 3) third->set_value();
  co_return;
}

TEST(Listener, HandsOverSocketsUntilClosed) {
  net::Core core("test");
  auto listener = Listener::open(core, on("127.0.0.1:0"));
  ASSERT_TRUE(listener.has_value());
  std::atomic<int> accepted = 0;
  std::promise<void> third;
  (*listener)->start(
      [&](net::Socket socket) { return close_it(std::move(socket), &accepted, &third); });
  core.start();
  const auto port = (*listener)->endpoint().port;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(RawSocket::connect(port).end_reason(), 0);
  third.get_future().get();
  std::promise<void> closed;
  core.post([&] {
    (*listener)->close();
    closed.set_value();
  });
  closed.get_future().get();
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_NE(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(errno, ECONNREFUSED);
  ::close(fd);
  core.stop();
  core.join();
}

net::Task<void> finish_it(Listener& listener, std::promise<void>* finished) {
  co_await listener.finish();
  finished->set_value();
}

net::Task<void> greet(net::Socket socket, std::atomic<int>* greeted) {
  ++*greeted;
  co_await socket.async_write_some(net::asio::buffer("!", 1), net::tok);
}

/// What the server says to a new client; none: refused.
std::optional<std::string> connect_and_read(std::uint16_t port) {
  RawSocket client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(client.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
    return client.read_to_end();
  if (errno == ECONNREFUSED) return std::nullopt;
  return "reset";
}

// The one that the loop has taken and was not told of yet is not lost.
TEST(Listener, FinishHandsOverAllThatWait) {
  constexpr int kClients = 5;
  net::Core core("test");
  auto listener = Listener::open(core, on("127.0.0.1:0"));
  ASSERT_TRUE(listener.has_value());
  std::atomic<int> accepted = 0;
  std::promise<void> finished;
  (*listener)->start([&](net::Socket socket) { return greet(std::move(socket), &accepted); });
  std::vector<RawSocket> clients;
  clients.reserve(kClients);
  core.post([&] {  // behind the start of the loop; before it hears of any client
    for (int i = 0; i < kClients; ++i)
      clients.push_back(RawSocket::connect((*listener)->endpoint().port));
    // Two turns later the loop has taken two, and has been told of one.
    core.post([&] { core.post([&] { core.spawn(finish_it(**listener, &finished), "finish"); }); });
  });
  core.start();
  ASSERT_EQ(finished.get_future().wait_for(kTestLimit), std::future_status::ready);
  for (auto& client : clients) EXPECT_EQ(client.read_to_end(), "!");
  core.stop();
  core.join();
  EXPECT_EQ(accepted, kClients);
}

// Clients that connect all the time while it closes: each is served, or refused, never reset.
TEST(Listener, FinishResetsNobody) {
  net::Core core("test");
  auto listener = Listener::open(core, on("127.0.0.1:0"));
  ASSERT_TRUE(listener.has_value());
  const auto port = (*listener)->endpoint().port;
  std::promise<void> finished;
  std::atomic<int> served = 0;
  (*listener)->start([&](net::Socket socket) { return greet(std::move(socket), &served); });
  core.start();
  std::atomic<int> reset = 0;
  const auto ask_all_the_time = [&] {
    while (const auto answer = connect_and_read(port)) {
      if (*answer != "!") ++reset;
    }
  };
  std::vector<std::thread> clients(4);
  for (auto& client : clients) client = std::thread(ask_all_the_time);
  while (served < 100) std::this_thread::yield();
  core.post([&] { core.spawn(finish_it(**listener, &finished), "finish"); });
  EXPECT_EQ(finished.get_future().wait_for(kTestLimit), std::future_status::ready);
  for (auto& client : clients) client.join();
  EXPECT_EQ(reset, 0);
  core.stop();
  core.join();
}

TEST(Listener, SeveralCoresShareOnePortAndNobodyElseDoes) {
  net::Core first("one");
  net::Core second("two");
  auto listeners = Listener::open_on_all({&first, &second}, on("127.0.0.1:0"));
  ASSERT_TRUE(listeners.has_value());
  ASSERT_EQ(listeners->size(), 2U);
  const Endpoint bound = (*listeners)[0]->endpoint();
  EXPECT_EQ(bound, (*listeners)[1]->endpoint());

  std::atomic<int> accepted = 0;
  std::promise<void> third;
  for (auto& listener : *listeners) {
    listener->start(
        [&](net::Socket socket) { return close_it(std::move(socket), &accepted, &third); });
  }
  first.start();
  second.start();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(RawSocket::connect(bound.port).end_reason(), 0);
  third.get_future().get();

  net::Core third_core("three");
  net::Core fourth_core("four");
  const auto stranger = Listener::open_on_all({&third_core, &fourth_core}, on(bound.to_string()));
  ASSERT_FALSE(stranger.has_value());
  EXPECT_NE(stranger.error().detail.find("address already in use"), std::string::npos);
  for (net::Core* core : {&first, &second}) {
    core->stop();
    core->join();
  }
}

TEST(Endpoint, ReadsAndWritesEveryForm) {
  const auto v4 = parse_endpoint("127.0.0.1:80");
  ASSERT_TRUE(v4.has_value());
  EXPECT_EQ(v4->to_string(), "127.0.0.1:80");
  const auto v6 = parse_endpoint("[::1]:8000");
  ASSERT_TRUE(v6.has_value());
  EXPECT_EQ(v6->host, "::1");
  EXPECT_EQ(v6->to_string(), "[::1]:8000");
}

TEST(Url, IsSplitIntoEndpointAndPrefix) {
  const auto plain = parse_url("http://engine-0.pods:8001");
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->endpoint.to_string(), "engine-0.pods:8001");
  EXPECT_EQ(plain->path, "");
  const auto prefixed = parse_url("http://[::1]/a/b/");
  ASSERT_TRUE(prefixed.has_value());
  EXPECT_EQ(prefixed->endpoint.to_string(), "[::1]:80");
  EXPECT_EQ(prefixed->path, "/a/b");
  EXPECT_EQ(parse_url("https://a:1").error().code, Code::kUnsupported);
  for (const char* bad :
       {"", "a:1", "ftp://a:1", "http://", "http://a:x", "http://user@a:1", "http://a:1/?q"}) {
    const auto url = parse_url(bad);
    ASSERT_FALSE(url.has_value()) << bad;
    EXPECT_EQ(url.error().code, Code::kBadInput) << bad;
  }
}

TEST(Message, WritesAResponseHead) {
  std::string out;
  wire::Headers headers;
  headers.append("content-type", "text/event-stream");
  HeadOptions options;
  options.framing = Framing::kChunked;
  append_response_head(out, 200, headers, options);
  EXPECT_EQ(out.rfind("HTTP/1.1 200 OK\r\ndate: ", 0), 0U);
  EXPECT_NE(
      out.find(" GMT\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"),
      std::string::npos);
  const auto parsed = wire::parse_response_head(out, 1000);
  ASSERT_TRUE(parsed.has_value() && parsed->has_value());
  EXPECT_TRUE((*parsed)->head.chunked);
  EXPECT_TRUE((*parsed)->head.keep_alive);
}

TEST(Message, ABodyUntilTheEndClosesTheConnection) {
  std::string out;
  HeadOptions options;
  options.framing = Framing::kUntilClose;
  append_response_head(out, 200, {}, options);
  const auto parsed = wire::parse_response_head(out, 1000);
  ASSERT_TRUE(parsed.has_value() && parsed->has_value());
  EXPECT_TRUE((*parsed)->head.body_until_close());
  BodyDecoder decoder((*parsed)->head);
  std::string body;
  EXPECT_EQ(decoder.decode("abc", body), 3U);
  EXPECT_FALSE(decoder.done());
  EXPECT_TRUE(decoder.end_of_stream().has_value());
  EXPECT_TRUE(decoder.done());
  EXPECT_EQ(body, "abc");
}

TEST(Message, ACutBodyIsAReset) {
  const auto parsed =
      wire::parse_response_head("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 1000);
  ASSERT_TRUE(parsed.has_value() && parsed->has_value());
  BodyDecoder decoder((*parsed)->head);
  std::string body;
  EXPECT_EQ(decoder.decode("abc", body), 3U);
  EXPECT_EQ(decoder.bytes_left(), 2U);
  const auto ended = decoder.end_of_stream();
  ASSERT_FALSE(ended.has_value());
  EXPECT_EQ(ended.error().code, Code::kReset);
}

}  // namespace
}  // namespace hf::http
