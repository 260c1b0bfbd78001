#include "chaos/client.hpp"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/write.hpp>
#include <tuple>

#include "http/message.hpp"
#include "net/clock.hpp"
#include "net/signal.hpp"
#include "wire/http_head.hpp"

namespace hf::chaos {
namespace {

constexpr std::size_t kHeadBytesMax = 65'536;
constexpr int kSlowWindow = 4096;  // bytes; the kernel doubles it

}  // namespace

void Client::broke(const std::string& why) {
  if (transcript_.broken.empty()) transcript_.broken = why;
}

void Client::leave() {
  if (has_ended()) return;
  transcript_.left = true;
  boost::system::error_code ignored;
  std::ignore = socket_.close(ignored);
}

void Client::give_up(const std::string& why) {
  if (has_ended()) return;
  broke(why);
  boost::system::error_code ignored;
  std::ignore = socket_.close(ignored);
}

net::Task<void> Client::run(std::shared_ptr<Client> self) {
  self->started_at_ = net::now();
  if (!self->transcript_.left && self->transcript_.broken.empty()) co_await self->exchange();
  boost::system::error_code ignored;
  std::ignore = self->socket_.close(ignored);
  self->ended_at_ = net::now();
}

net::Task<bool> Client::connect() {
  for (const auto& to : call_.to) {
    transcript_.broken.clear();
    const bool is_connected = co_await connect_to(to);
    if (is_connected || transcript_.left) co_return is_connected;
  }
  co_return false;
}

net::Task<bool> Client::connect_to(http::Endpoint to) {
  net::Resolver resolver(core_.executor());
  const auto [error, found] =
      co_await resolver.async_resolve(to.host, std::to_string(to.port), net::tok);
  if (error) {
    broke("cannot resolve " + to.host + ": " + error.message());
    co_return false;
  }
  std::string last = "no address";
  for (const auto& entry : found) {
    boost::system::error_code ignored;
    if (transcript_.left) co_return false;
    std::ignore = socket_.close(ignored);
    std::ignore = socket_.open(entry.endpoint().protocol(), ignored);
    if (call_.read_bytes_per_s)
      std::ignore =
          socket_.set_option(boost::asio::socket_base::receive_buffer_size(kSlowWindow), ignored);
    const auto [failed] = co_await socket_.async_connect(entry.endpoint(), net::tok);
    if (!failed) {
      std::ignore = socket_.set_option(net::Tcp::no_delay(true), ignored);
      co_return true;
    }
    last = failed.message();
  }
  broke("cannot connect to " + to.to_string() + ": " + last);
  co_return false;
}

net::Task<void> Client::exchange() {
  const bool is_connected = co_await connect();
  if (!is_connected) co_return;
  wire::Headers headers;
  headers.append("Content-Type", "application/json");
  headers.append("X-Request-Id", call_.request_id);
  if (!call_.user_id.empty()) headers.append("X-User-Id", call_.user_id);
  auto whole = http::request_head("POST", call_.path, call_.to.front().to_string(), headers,
                                  call_.body.size());
  whole += call_.body;
  const auto buffer = boost::asio::buffer(whole);
  const auto [error, sent] = co_await boost::asio::async_write(socket_, buffer, net::tok);
  if (error) {
    broke("while sending: " + error.message());
    co_return;
  }
  co_await read_answer();
}

net::Task<bool> Client::read_more(std::string& into) {
  std::array<char, 16'384> part;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  std::size_t most = part.size();
  if (call_.read_bytes_per_s) {
    // A tenth of a second's share at a time: the window stays full.
    most = std::max<std::size_t>(1, static_cast<std::size_t>(*call_.read_bytes_per_s / 10));
    most = std::min(most, part.size());
    co_await net::sleep_until(core_, net::now() + std::chrono::milliseconds(100));
  }
  const auto buffer = boost::asio::buffer(part.data(), most);
  const auto [error, count] = co_await socket_.async_read_some(buffer, net::tok);
  into.append(part.data(), count);
  if (error) broke(error == boost::asio::error::eof ? "ended" : error.message());
  co_return !error;
}

net::Task<void> Client::read_answer() {
  std::string in;
  std::optional<wire::ResponseHead> head;
  while (!head) {
    const auto parsed = wire::parse_response_head(in, kHeadBytesMax);
    if (!parsed) co_return broke("no HTTP: " + parsed.error().detail);
    if (!*parsed) {
      const bool got = co_await read_more(in);
      if (!got) co_return;
      continue;
    }
    in.erase(0, (*parsed)->size);
    if (!(*parsed)->head.is_interim()) head = (*parsed)->head;
  }
  transcript_.status = head->status;
  transcript_.request_id = head->headers.find("x-request-id").value_or("");
  const bool is_stream =
      head->headers.find("content-type").value_or("").starts_with("text/event-stream");
  http::BodyDecoder decoder(*head);
  BodyTaker taker(transcript_);
  std::string body;
  while (true) {
    const auto used = decoder.decode(in, body);
    if (!used) co_return broke("broken framing: " + used.error().detail);
    in.erase(0, *used);
    if (is_stream) taker.take(std::exchange(body, {}), net::now());
    if (decoder.done()) break;
    const bool got = co_await read_more(in);
    if (got) continue;
    if (transcript_.broken != "ended" || !decoder.end_of_stream()) co_return;
    transcript_.broken.clear();
    break;
  }
  if (is_stream) {
    taker.end();
  } else {
    taker.take_whole(body, net::now());
  }
}

}  // namespace hf::chaos
