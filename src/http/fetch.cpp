#include "http/fetch.hpp"

#include <optional>
#include <utility>

namespace hf::http {
namespace {

constexpr std::size_t kHeadBytesMax = 64 * 1024;

struct Exchange {
  std::string in;
  bool has_answer_begun = false;
  bool is_reusable = false;
};

net::Task<Result<void>> read_more(ClientConnection& connection, Exchange& exchange,
                                  Instant deadline) {
  const auto got = co_await connection.read_some(exchange.in, 16 * 1024, deadline);
  if (!got) co_return std::unexpected(got.error());
  exchange.has_answer_begun = true;
  co_return Result<void>{};
}

net::Task<Result<wire::ResponseHead>> read_head(ClientConnection& connection, Exchange& exchange,
                                                Instant deadline) {
  while (true) {
    auto parsed = wire::parse_response_head(exchange.in, kHeadBytesMax);
    if (!parsed) co_return std::unexpected(std::move(parsed.error()));
    if (parsed->has_value()) {
      exchange.in.erase(0, (*parsed)->size);
      if (!(*parsed)->head.is_interim()) co_return std::move((*parsed)->head);
      continue;
    }
    auto more = co_await read_more(connection, exchange, deadline);
    if (!more) {
      if (more.error().code == Code::kClosed) more.error().code = Code::kReset;
      co_return std::unexpected(std::move(more.error()));
    }
  }
}

net::Task<Result<Response>> exchange_once(ClientConnection& connection, const FetchRequest& request,
                                          Exchange& exchange, Instant deadline,
                                          std::size_t body_bytes_max) {
  auto head_text = request_head(request.method, request.target, connection.endpoint().to_string(),
                                request.headers, request.body.size());
  auto written = co_await connection.write(std::move(head_text), request.body, deadline);
  // A server may answer and close without reading all of the body: look for the answer.
  if (!written && written.error().code != Code::kReset) {
    co_return std::unexpected(std::move(written.error()));
  }
  auto head = co_await read_head(connection, exchange, deadline);
  if (!head) co_return std::unexpected(std::move(head.error()));
  Response response;
  response.status = head->status;
  BodyDecoder decoder(*head, request.method == "HEAD");
  while (true) {
    const auto used = decoder.decode(exchange.in, response.body);
    if (!used) co_return std::unexpected(used.error());
    exchange.in.erase(0, *used);
    if (response.body.size() > body_bytes_max ||
        decoder.bytes_left().value_or(0) > body_bytes_max) {
      co_return fail(Code::kTooLarge, "the answer of " + connection.endpoint().to_string() +
                                          " is larger than " + std::to_string(body_bytes_max) +
                                          " bytes");
    }
    if (decoder.done()) break;
    auto more = co_await read_more(connection, exchange, deadline);
    if (!more && more.error().code == Code::kClosed) {
      const auto ended = decoder.end_of_stream();
      if (!ended) co_return std::unexpected(ended.error());
    } else if (!more) {
      co_return std::unexpected(std::move(more.error()));
    }
  }
  exchange.is_reusable = written.has_value() && head->keep_alive && exchange.in.empty();
  response.headers = std::move(head->headers);
  co_return response;
}

}  // namespace

net::Task<Result<Response>> fetch(Pool& pool, Endpoint endpoint, FetchRequest request,
                                  Instant deadline, std::size_t body_bytes_max) {
  bool is_retry = false;
  while (true) {
    Pool::Taken taken =
        is_retry ? Pool::Taken{pool.take_new(endpoint), false} : pool.take(endpoint);
    if (!taken.reused) {
      auto connected = co_await taken.connection.connect(deadline);
      if (!connected) co_return std::unexpected(std::move(connected.error()));
    }
    Exchange exchange;
    auto response =
        co_await exchange_once(taken.connection, request, exchange, deadline, body_bytes_max);
    if (response) {
      if (exchange.is_reusable) pool.give_back(std::move(taken.connection));
      co_return response;
    }
    const bool is_idle_close_race =
        taken.reused && !exchange.has_answer_begun && response.error().code == Code::kReset;
    if (!is_idle_close_race) co_return response;
    is_retry = true;
  }
}

}  // namespace hf::http
