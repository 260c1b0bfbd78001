#include "frontend/attempt_driver.hpp"

#include <utility>

#include "frontend/data_core.hpp"
#include "frontend/request_driver.hpp"
#include "net/clock.hpp"

namespace hf::frontend {
namespace {

using core::Reason;

constexpr std::size_t kHeadBytesMax = 64UL * 1024;
constexpr std::size_t kEventBytesMax = 4UL * 1024 * 1024;
constexpr std::size_t kWholeBytesMax = 64UL * 1024 * 1024;
constexpr std::size_t kClientBacklogMax = 256UL * 1024;
constexpr std::size_t kClientBacklogLow = 64UL * 1024;
constexpr std::size_t kKeptCapacity = 64UL * 1024;
constexpr Duration kTailMax = std::chrono::seconds(1);  // for the end marker after [DONE]
constexpr int kTriesMax = 2;                            // a reused connection, then a new one

engine::ReaderOptions reader_options(const RequestDriver& request, const core::OpenAttempt& open,
                                     const engine::WireRequest& call, const EngineFacts& facts) {
  const auto& client = request.request();
  engine::ReaderOptions options;
  options.kind = facts.kind;
  options.called = open.mode == core::Mode::kTokens           ? engine::Called::kTokens
                   : client.endpoint == core::Endpoint::kChat ? engine::Called::kChat
                                                              : engine::Called::kCompletions;
  options.ids_added = call.ids_added;
  options.include_usage = client.include_usage;
  options.continuous_usage = client.continuous_usage;
  options.fingerprint = facts.fingerprint;
  return options;
}

}  // namespace

AttemptDriver::AttemptDriver(std::shared_ptr<RequestDriver> request, const core::OpenAttempt& open,
                             engine::WireRequest call)
    : request_(std::move(request)),
      core_(request_->data_core()),
      open_(open),
      call_(std::move(call)),
      reader_(reader_options(*request_, open, call_, core_.fleet().facts[open.worker])),
      whole_form_(core_.fleet()
                      .facts[open.worker]
                      .whole[static_cast<std::size_t>(request_->request().endpoint)]),
      scanner_(kEventBytesMax) {}

AttemptDriver::~AttemptDriver() = default;

std::string AttemptDriver::request_head() const {
  auto headers = request_->forwarded_headers();
  const auto& facts = core_.fleet().facts[open_.worker];
  headers.set("X-Request-Id", request_->request_id() + "-" + std::to_string(open_.attempt));
  // The client's own Authorization is in `headers` already, where it may go on.
  if (!facts.authorization.empty() && !headers.find("authorization"))
    headers.append("Authorization", facts.authorization);
  return http::request_head(call_.method, call_.path, facts.endpoint.to_string(), headers,
                            call_.body.size());
}

net::Task<void> AttemptDriver::run(std::shared_ptr<AttemptDriver> self) {
  auto sending = self->connect_and_send();
  const bool has_head = co_await std::move(sending);
  if (has_head) {
    const bool is_stream = self->open_.stream && self->head_.status == 200;
    auto reading = self->is_relayed_answer() ? self->read_relay()
                   : is_stream               ? self->read_stream()
                                             : self->read_whole();
    co_await std::move(reading);
  }
  if (self->connection_) self->connection_->close();
  // The request may keep this attempt for its answer; it must not keep the request.
  const auto request = std::move(self->request_);
  request->release(*self);
}

// A reused connection may have been closed by the engine just now: then a new one, not counted.
net::Task<bool> AttemptDriver::connect_and_send() {
  const auto endpoint = core_.fleet().facts[open_.worker].endpoint;
  const auto head = request_head();
  for (int tries = 0; tries < kTriesMax && !is_cancelled_; ++tries) {
    // What must not be done twice has no use for a connection that may just have ended.
    if (tries == 0 && request_->machine().spec().repeatable) {
      auto taken = core_.pool().take(endpoint);
      reused_ = taken.reused;
      connection_.emplace(std::move(taken.connection));
    } else {
      reused_ = false;
      connection_.emplace(core_.pool().take_new(endpoint));
    }
    if (!reused_) {
      const auto limit = net::now() + core_.options().connect_timeout;
      auto connected = co_await connection_->connect(limit);
      if (!connected) {
        // Refused after the request had been sent once: it was perhaps running when the worker
        // died.
        failed(tries == 0 ? Reason::kConnect : Reason::kReset);
        co_return false;
      }
    }
    auto written = co_await connection_->write(head, call_.body);
    if (is_cancelled_) co_return false;
    if (written) {
      auto reading = read_head();
      if (co_await std::move(reading)) co_return true;
      if (is_cancelled_) co_return false;
    }
    if (!reused_ || got_bytes_) break;
  }
  failed(Reason::kReset);
  co_return false;
}

// False: the connection ended, or what came is no HTTP (then failed() was called).
net::Task<bool> AttemptDriver::read_head() {
  for (;;) {
    auto parsed = wire::parse_response_head(raw_, kHeadBytesMax);
    if (!parsed) {
      failed(Reason::kProtocol);
      co_return false;
    }
    if (parsed->has_value()) {
      raw_.erase(0, (*parsed)->size);
      if ((*parsed)->head.is_interim()) continue;
      head_ = std::move((*parsed)->head);
      decoder_.emplace(head_);
      if (const auto encoding = head_.headers.find("content-encoding");
          encoding && !wire::iequals(*encoding, "identity")) {
        failed(Reason::kProtocol);  // we asked for none: what is in it cannot be checked
        co_return false;
      }
      co_return true;
    }
    auto got = co_await connection_->read_some(raw_);
    if (is_cancelled_ || !got) co_return false;
    got_bytes_ = true;
  }
}

net::Task<void> AttemptDriver::read_whole() {
  for (;;) {
    auto used = decoder_->decode(raw_, body_);
    if (!used || body_.size() > kWholeBytesMax) {
      failed(Reason::kProtocol);
      co_return;
    }
    raw_.erase(0, *used);
    if (decoder_->done()) break;
    auto got = co_await connection_->read_some(raw_);
    if (is_cancelled_) co_return;
    if (got) continue;
    if (decoder_->end_of_stream()) break;
    failed(Reason::kReset);
    co_return;
  }
  give_back();
  auto& machine = request_->machine();
  if (head_.status == 200) {
    const auto kind = core_.fleet().facts[open_.worker].kind;
    if (const auto verdict = engine::judge_whole(kind, body_); verdict.reason != Reason::kNone) {
      refused_whole(verdict);
      co_return;
    }
    core_.shared().fleet.succeeded(open_.worker);
    machine.on_whole(net::now(), id());
  } else {
    machine.on_status(net::now(), id(), head_.status, retry_after());
  }
  request_->settle();
}

// Under status 200, and no answer.
void AttemptDriver::refused_whole(const engine::WholeVerdict& verdict) {
  if (is_cancelled_) return;
  if (!verdict.client_error) {
    failed(verdict.reason);
    return;
  }
  core::UpstreamEvent error;
  error.kind = core::EventKind::kError;
  error.client_error = true;
  error.error_message = verdict.message;
  request_->machine().on_event(net::now(), id(), error);
  request_->settle();
}

Duration AttemptDriver::retry_after() const {
  const auto value = head_.headers.find("retry-after");
  if (!value) return {};
  std::int64_t whole = 0;
  for (const char c : *value) {
    if (c < '0' || c > '9' || whole > 3600) return {};
    whole = whole * 10 + (c - '0');
  }
  return std::chrono::seconds(whole);
}

net::Task<void> AttemptDriver::read_stream() {
  const auto type = head_.headers.find("content-type");
  if (!type || type->find("text/event-stream") == std::string_view::npos) {
    failed(Reason::kProtocol);
    co_return;
  }
  request_->machine().on_head(net::now(), id());
  for (;;) {
    auto used = decoder_->decode(raw_, body_);
    const bool broken = !used;
    raw_.clear();
    const bool goes_on = take_events();
    request_->settle();  // also what an attempt wrote that is over now
    if (!goes_on) co_return;
    if (broken) {
      failed(Reason::kProtocol);
      co_return;
    }
    if (decoder_->done()) {
      ended();
      co_return;
    }
    if (!request_->is_finished() && request_->client().unsent() > kClientBacklogMax) {
      auto waiting = hold_back();
      co_await std::move(waiting);
    }
    if (is_cancelled_) co_return;
    auto got = co_await connection_->read_some(raw_, 16UL * 1024,
                                               saw_done_ ? net::now() + kTailMax : kNever);
    if (is_cancelled_) co_return;
    if (got) continue;
    if (decoder_->end_of_stream()) {
      ended();
    } else {
      failed(Reason::kReset);
    }
    co_return;
  }
}

// A slow client: its engine's stream is not read, and no stall clock runs meanwhile.
net::Task<void> AttemptDriver::hold_back() {
  request_->machine().on_paused(net::now(), id(), true);
  co_await request_->client().drained(kClientBacklogLow);
  if (!is_cancelled_) request_->machine().on_paused(net::now(), id(), false);
}

// The next whole event of body_, from taken_ on. `broken`: there never will be one, the attempt is
// over.
std::optional<wire::SseEvent> AttemptDriver::next_event(bool& broken) {
  auto next = scanner_.next(std::string_view(body_).substr(taken_));
  broken = !next;
  if (broken) {
    failed(Reason::kProtocol);
    return std::nullopt;
  }
  if (next->has_value()) taken_ += (*next)->size;
  return *next;
}

// False: the attempt is over.
bool AttemptDriver::take_events() {
  for (;;) {
    bool broken = false;
    const auto sse = next_event(broken);
    if (broken) return false;
    if (!sse) break;
    if (sse->has_data && !report_event(*sse)) return false;
  }
  body_.erase(0, taken_);
  taken_ = 0;
  if (body_.empty() && body_.capacity() > kKeptCapacity) body_ = std::string();
  return true;
}

bool AttemptDriver::report_event(const wire::SseEvent& sse) {
  if (const auto* identity = request_->identity_for(*this)) reader_.set_identity(*identity);
  auto read = reader_.read(sse.data);
  if (!read) {
    failed(Reason::kProtocol);
    return false;
  }
  event_ = &*read;
  event_bytes_ = sse.whole;
  if (read->meaning.kind == core::EventKind::kDone) saw_done_ = true;
  request_->report(*this, read->meaning);
  event_ = nullptr;
  return !is_cancelled_;
}

void AttemptDriver::ended() {
  give_back();
  if (saw_done_) core_.shared().fleet.succeeded(open_.worker);
  request_->machine().on_end(net::now(), id());
  request_->settle();
}

void AttemptDriver::give_back() {
  const bool clean = head_.keep_alive && decoder_->done() && raw_.empty();
  if (clean && connection_->is_open())
    core_.pool().give_back(*std::exchange(connection_, std::nullopt));
}

void AttemptDriver::failed(core::Reason reason) {
  if (is_cancelled_) return;
  request_->machine().on_failed(net::now(), id(), reason);
  request_->settle();
}

void AttemptDriver::cancel() {
  is_cancelled_ = true;
  if (connection_) connection_->close();
}

}  // namespace hf::frontend
