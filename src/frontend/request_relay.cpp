// Endpoints whose answers go on as they come: what their request's driver does instead.
#include <algorithm>
#include <utility>

#include "engine/relayed_request.hpp"
#include "frontend/attempt_driver.hpp"
#include "frontend/error_response.hpp"
#include "frontend/header_rules.hpp"
#include "frontend/request_driver.hpp"
#include "wire/chunk.hpp"

namespace hf::frontend {
namespace {

// For the load estimate only: a form's bytes are sound or pictures, not text.
constexpr std::size_t kEstimateBytesMax = 32UL * 1024;

}  // namespace

void RequestDriver::start_relay(Instant now) {
  const std::string type(http_.headers.find("content-type").value_or(""));
  auto scanned = engine::scan_relayed(route_->body, type, http_.body);
  if (!scanned) {
    refuse_body(scanned.error());
    return;
  }
  const bool is_form = route_->body == engine::BodyForm::kMultipart;
  forwarded_headers_ =
      to_engine(http_.headers, is_form ? type : "application/json", core_.options().auth);
  request_.emplace();
  request_->model = std::move(scanned->model);
  request_->body = std::move(http_.body);
  core::RequestSpec spec;
  spec.relayed = true;
  spec.repeatable = route_->repeat == Repeat::kAlways || !scanned->background;
  spec.stream = false;
  spec.model = model_of(*request_);
  spec.prompt_tokens_estimate =
      static_cast<std::int64_t>(std::min(request_->body.size(), kEstimateBytesMax) / 4 + 1);
  spec.body_bytes = request_->body.size();
  begin(std::move(spec), now);
}

engine::WireRequest RequestDriver::relayed_call() const {
  engine::WireRequest call;
  call.method = "POST";
  call.path = std::string(route_->path);
  if (!http_.query.empty()) call.path += "?" + http_.query;
  call.body = request_->body;
  return call;
}

void RequestDriver::relay_begin(core::AttemptId id) {
  const auto* attempt = find(id);
  status_ = attempt->status();
  head_sent_ = true;
  request_->body = std::string();  // nobody is asked again
  auto headers = to_client(attempt->head().headers);
  headers.append("x-request-id", request_id_);
  http::HeadOptions options;
  relay_framing_ = attempt->head().content_length ? http::Framing::kLength
                   : chunked_                     ? http::Framing::kChunked
                                                  : http::Framing::kUntilClose;
  options.framing = relay_framing_;
  options.length = static_cast<std::size_t>(attempt->head().content_length.value_or(0));
  options.keep_alive =
      http_.keep_alive && relay_framing_ != http::Framing::kUntilClose && !core_.is_draining();
  http::append_response_head(client_.out(), status_, headers, options);
  // Between two events a comment tells whether the client is there; among other bytes nothing may.
  const bool may_probe = relay_stream_ && relay_framing_ == http::Framing::kChunked;
  client_.set_probe(may_probe ? "3\r\n:\n\n\r\n" : "");
}

void RequestDriver::expect_events(bool is_stream) {
  relay_stream_.reset();
  if (is_stream) relay_stream_.emplace(route_->form, machine_->spec().model);
}

void RequestDriver::relay_bytes(std::string_view bytes) {
  if (relay_framing_ == http::Framing::kChunked) {
    wire::append_chunk(client_.out(), bytes);
  } else {
    client_.out() += bytes;
  }
}

void RequestDriver::complete_relay() {
  if (relay_framing_ == http::Framing::kChunked) client_.out() += wire::kLastChunk;
  keep_connection_ =
      http_.keep_alive && relay_framing_ != http::Framing::kUntilClose && !core_.is_draining();
  finish(status_, "ok");
}

// The answer was begun: whatever it is framed by must end short of its end.
void RequestDriver::fail_relay(const core::ClientError& error) {
  keep_connection_ = false;
  // Within a told length the event could be just what is missing.
  if (relay_stream_ && relay_framing_ != http::Framing::kLength) {
    relay_bytes(relay_stream_->error_event(error));
  }
  if (relay_framing_ == http::Framing::kUntilClose) {
    client_.flush_now();
    client_.reset();  // a clean end would be the end of a whole answer
  }
  finish(status_, error.code);
}

}  // namespace hf::frontend
