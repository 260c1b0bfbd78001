// The answer of an endpoint that is passed on: held back while an end could still be had from
// another engine, then sent on as it comes.
#include <utility>

#include "frontend/attempt_driver.hpp"
#include "frontend/data_core.hpp"
#include "frontend/request_driver.hpp"
#include "net/clock.hpp"
#include "wire/json.hpp"

namespace hf::frontend {
namespace {

using core::Reason;

constexpr std::size_t kHeldBytesMax = 1024UL * 1024;
constexpr std::size_t kClientBacklogMax = 256UL * 1024;

bool is_type(const wire::ResponseHead& head, std::string_view wanted) {
  const auto type = head.headers.find("content-type");
  return type && wire::iequals(type->substr(0, wanted.size()), wanted);
}

}  // namespace

bool AttemptDriver::is_relayed_answer() const {
  return request_->route() != nullptr && head_.status >= 200 && head_.status <= 202;
}

net::Task<void> AttemptDriver::read_relay() {
  request_->machine().on_head(net::now(), id());
  const bool is_stream = is_type(head_, "text/event-stream");
  if (is_type(head_, "text/html")) {
    failed(Reason::kProtocol);  // a page of something that stands before the engine
    co_return;
  }
  const bool is_short = head_.content_length.value_or(kHeldBytesMax + 1) <= kHeldBytesMax;
  is_held_ = !is_stream && (is_short || is_type(head_, "application/json"));
  request_->expect_events(is_stream);
  call_.body = std::string();  // all of it was sent
  for (;;) {
    auto used = decoder_->decode(raw_, body_);
    if (used) raw_.erase(0, *used);
    if (is_held_ && body_.size() > kHeldBytesMax) is_held_ = false;
    const bool goes_on = is_held_ || (is_stream ? pass_events() : pass_bytes());
    request_->settle();
    if (!goes_on) co_return;
    if (!used) {
      failed(Reason::kProtocol);
      co_return;
    }
    if (decoder_->done()) break;
    if (!request_->is_finished() && request_->client().unsent() > kClientBacklogMax) {
      auto waiting = hold_back();
      co_await std::move(waiting);
    }
    if (is_cancelled_) co_return;
    auto got = co_await connection_->read_some(raw_);
    if (is_cancelled_) co_return;
    if (got) continue;
    if (decoder_->end_of_stream()) break;
    failed(Reason::kReset);
    co_return;
  }
  relay_ended(is_stream);
}

// False: the attempt is over.
bool AttemptDriver::pass_events() {
  for (;;) {
    bool broken = false;
    const auto sse = next_event(broken);
    if (broken) return false;
    if (!sse) break;
    request_->relay_events().saw(*sse);
  }
  const auto whole = std::exchange(taken_, 0);
  if (whole == 0) return true;
  request_->machine().on_bytes(net::now(), id());
  if (is_cancelled_) return false;
  request_->relay_bytes(std::string_view(body_).substr(0, whole));
  body_.erase(0, whole);
  return true;
}

bool AttemptDriver::pass_bytes() {
  if (body_.empty()) return true;
  request_->machine().on_bytes(net::now(), id());
  if (is_cancelled_) return false;
  request_->relay_bytes(body_);
  body_.clear();
  return true;
}

void AttemptDriver::relay_ended(bool is_stream) {
  const bool is_whole = is_stream  ? body_.empty() && request_->relay_events().is_whole()
                        : is_held_ ? !body_.empty()
                                   : true;
  if (!is_whole) {
    failed(Reason::kEarlyEnd);
    return;
  }
  if (is_held_ && is_type(head_, "application/json") && !wire::json_valid(body_)) {
    failed(Reason::kProtocol);
    return;
  }
  give_back();
  core_.shared().fleet.succeeded(open_.worker);
  if (is_held_) {
    request_->machine().on_whole(net::now(), id());
  } else {
    request_->machine().on_end(net::now(), id());
  }
  request_->settle();
}

}  // namespace hf::frontend
