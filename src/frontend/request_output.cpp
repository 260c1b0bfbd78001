// What a request writes to its client, and what it leaves in the log.
#include <algorithm>
#include <utility>

#include "frontend/attempt_driver.hpp"
#include "frontend/error_response.hpp"
#include "frontend/header_rules.hpp"
#include "frontend/request_driver.hpp"
#include "net/clock.hpp"
#include "wire/chunk.hpp"
#include "wire/json.hpp"

namespace hf::frontend {

engine::Counts RequestDriver::counts() const {
  return {std::max<std::int64_t>(machine_->prompt_tokens(), 0), machine_->completion_tokens()};
}

// What a failure would cost from now on.
std::string_view RequestDriver::fidelity() const {
  const auto& view = core_.fleet().view;
  const auto otherwise = text_fidelity();
  if (attempts_.empty() || !attempts_.back()->opened().with_ids) return otherwise;
  const auto& mine = view.workers[attempts_.back()->opened().worker];
  const auto& model = machine_->model();
  bool same_ids = false;
  for (const auto& other : view.workers) {
    if (other.index == mine.index || other.tokens_identity != mine.tokens_identity) continue;
    if (other.model(model) == nullptr) continue;
    same_ids = true;
    if (request_->greedy && mine.exact_identity != 0 &&
        other.exact_for(model) == mine.exact_for(model)) {
      return "exact";
    }
  }
  return same_ids ? "approximate" : otherwise;
}

// Where ids can't go on.
std::string_view RequestDriver::text_fidelity() const {
  const auto& spec = machine_->spec();
  const auto serves = [&](const core::WorkerStatus& worker) {
    const auto kind = static_cast<std::size_t>(worker.kind);
    return worker.model(spec.model) != nullptr && kind < spec.text_allowed.size() &&
           spec.text_allowed[kind];
  };
  // The worker itself may be one of them, restarted.
  const bool any = std::ranges::any_of(core_.fleet().view.workers, serves);
  return limits_of(spec.model).text && any ? "text" : "none";
}

void RequestDriver::send_head() {
  if (std::exchange(head_sent_, true)) return;
  client_.set_probe(chunked_ ? "3\r\n:\n\n\r\n" : ":\n\n");  // an empty comment
  status_ = 200;
  wire::Headers headers;
  headers.append("Content-Type", "text/event-stream; charset=utf-8");
  headers.append("Cache-Control", "no-cache");
  headers.append("x-request-id", request_id_);
  headers.append("x-holdfast-fidelity", std::string(fidelity()));
  http::HeadOptions options;
  options.framing = chunked_ ? http::Framing::kChunked : http::Framing::kUntilClose;
  options.keep_alive = http_.keep_alive && chunked_ && !core_.is_draining();
  http::append_response_head(client_.out(), 200, headers, options);
}

void RequestDriver::send_event(std::string_view event) {
  send_head();
  if (chunked_) {
    wire::append_chunk(client_.out(), event);
  } else {
    client_.out() += event;
  }
}

void RequestDriver::forward(core::AttemptId id) {
  auto* attempt = find(id);
  const auto& event = attempt->event();
  if (!request_->stream) {
    keep_event(*attempt);
    return;
  }
  if (!identity_) {
    identity_ = attempt->reader().captured();
    identity_from_ = id;
  }
  if (event.drop) return;
  event_.clear();
  engine::append_edited(event_, attempt->event_bytes(), event);
  capture(*attempt, event_);
  if (!event.meaning.text.empty()) ++tokens_sent_;
  send_event(event_);
}

void RequestDriver::say_role() {
  if (!request_->stream || !skeleton_ || !skeleton_->ready()) return;
  event_.clear();
  skeleton_->append_role(event_, counts());
  send_event(event_);
}

void RequestDriver::say(std::string_view text) {
  ++tokens_sent_;
  if (!request_->stream) return;
  event_.clear();
  skeleton_->append_delta(event_, text, counts());
  send_event(event_);
}

void RequestDriver::say_finish(core::Finish finish, std::string_view stop_string) {
  std::string stop_reason;
  if (!stop_string.empty()) {
    wire::json_append_string(stop_reason, stop_string);
  } else if (reporting_ != nullptr) {
    stop_reason = reporting_->event().stop_reason;
  }
  const bool theirs = finish == core::Finish::kOther && reporting_ != nullptr;
  const auto reason = theirs ? reporting_->event().meaning.finish_text : to_string(finish);
  if (!request_->stream) {
    whole_->finish_reason = reason;
    whole_->stop_reason = stop_reason;
    return;
  }
  event_.clear();
  skeleton_->append_finish(event_, {}, reason, stop_reason, counts());
  send_event(event_);
}

void RequestDriver::say_usage() {
  if (!request_->stream || !skeleton_ || !skeleton_->ready()) return;
  event_.clear();
  skeleton_->append_usage(event_, counts());
  if (!event_.empty()) send_event(event_);
}

void RequestDriver::comment(std::string_view text) {
  if (!head_sent_) return;
  event_ = ": ";
  event_ += text;
  event_ += "\n\n";
  send_event(event_);
}

// One event of an answer that its client gets whole: what is not text.
void RequestDriver::keep_event(const AttemptDriver& attempt) {
  const auto& event = attempt.event();
  if (!whole_) {
    whole_.emplace();
    whole_->form = attempt.whole_form();
    whole_->identity = attempt.reader().captured();
  }
  const bool ends = event.meaning.finish != core::Finish::kNone;
  if (!event.meaning.text.empty()) ++tokens_sent_;
  if (ends) {
    whole_->finish_reason = event.meaning.finish_text;
    whole_->stop_reason = event.stop_reason;
  }
  if (!ends && event.meaning.kind != core::EventKind::kUsage) return;
  if (!event.usage.empty()) whole_->usage = event.usage;
  if (!event.timings.empty()) whole_->timings = event.timings;
}

void RequestDriver::discard() {
  whole_.reset();
}

// Nothing is sent before the end, so what breaks before it starts anew: exact, but where ids went
// to another build.
std::string_view RequestDriver::whole_fidelity() const {
  if (approximate_) return "approximate";
  return core_.options().migration.restart ? "exact" : "none";
}

void RequestDriver::complete_whole() {
  engine::WholeFill fill;
  fill.identity = &whole_->identity;
  fill.text = machine_->sent_text();
  fill.finish_reason = whole_->finish_reason;
  fill.stop_reason = whole_->stop_reason;
  fill.counts = counts();
  if (!machine_->is_rebuilt()) {  // else they tell of a part only
    fill.usage = whole_->usage;
    fill.timings = whole_->timings;
  }
  http::Response response;
  response.status = 200;
  response.headers.append("Content-Type", std::string(whole_->form->content_type()));
  response.headers.append("x-request-id", request_id_);
  response.headers.append("x-holdfast-fidelity", std::string(whole_fidelity()));
  whole_->form->append(response.body, fill);
  keep_connection_ = http_.keep_alive && !core_.is_draining();
  http::append_response(client_.out(), response, keep_connection_);
  head_sent_ = true;
  finish(200, "ok");
}

void RequestDriver::complete() {
  if (route_ != nullptr) {
    complete_relay();
    return;
  }
  if (!request_->stream) {
    complete_whole();
    return;
  }
  send_event("data: [DONE]\n\n");
  if (chunked_) client_.out() += wire::kLastChunk;
  keep_connection_ = http_.keep_alive && chunked_ && !core_.is_draining();
  finish(200, "ok");
}

void RequestDriver::relay_whole(core::AttemptId id) {
  const auto* attempt = find(id);
  if (attempt == nullptr) attempt = last_whole_.get();
  http::Response response;
  response.status = attempt->status();
  response.headers = to_client(attempt->head().headers);
  response.headers.append("x-request-id", request_id_);
  if (response.status == 200) {
    response.headers.append("x-holdfast-fidelity", std::string(whole_fidelity()));
  }
  response.body = attempt->body();
  keep_connection_ = http_.keep_alive && !core_.is_draining();
  http::append_response(client_.out(), response, keep_connection_);
  head_sent_ = true;
  finish(response.status, response.status < 400 ? "ok" : "engine_error");
}

void RequestDriver::fail(const core::ClientError& error) {
  if (head_sent_ && route_ != nullptr) {
    fail_relay(error);
    return;
  }
  if (head_sent_) {
    // No last chunk and no [DONE]: whoever reads only the framing must notice too.
    send_event(error_event(error));
    keep_connection_ = false;
    finish(status_, error.code);
    return;
  }
  keep_connection_ = http_.keep_alive && !core_.is_draining();
  const auto form = route_ != nullptr ? route_->form : StreamForm::kOpenAi;
  http::append_response(client_.out(), error_response(error, request_id_, form), keep_connection_);
  if (error.status == 503) core_.shared().metrics.shed_total.with(model_label_, error.code)->add();
  finish(error.status, error.code);
}

void RequestDriver::finish(int status, std::string_view outcome) {
  if (std::exchange(is_done_, true)) return;
  client_.set_probe({});
  status_ = status;
  outcome_ = stopped_ && outcome == "ok" ? "stopped" : outcome;
  if (alone_since_ != Instant{}) {
    status_ = 499;
    if (outcome_ == "ok") outcome_ = "finished_alone";
    core_.shared()
        .metrics.wasted_tokens_total.with("client_gone")
        ->add(tokens_sent_ - tokens_read_);
  }
  const auto now = net::now();
  auto& metrics = core_.shared().metrics;
  running_gauge_->add(-1);
  metrics.requests_total.with(model_label_, endpoint_path(), outcome_)->add();
  metrics.request_seconds.with()->observe(now - started_);
  metrics.tokens_total.with(model_label_, "completion")->add(tokens_sent_);
  if (machine_) count_migrations();
  if (outcome_ != "ok") {
    core_.shared().failed.add(
        {request_id_, outcome_, status_, machine_ ? machine_->describe() : std::string()});
  }
  write_access_line();
}

std::string_view RequestDriver::endpoint_path() const {
  if (route_ != nullptr) return route_->path;
  return endpoint_ == core::Endpoint::kChat ? "/v1/chat/completions" : "/v1/completions";
}

void RequestDriver::count_migrations() {
  auto& metrics = core_.shared().metrics;
  const auto& record = machine_->record();
  for (const auto& migration : record.migrations) {
    metrics.migrations_total
        .with(model_label_, core::to_string(migration.mode), core::to_string(migration.reason),
              migration.ok ? "ok" : "failed")
        ->add();
    if (migration.ok) metrics.resume_gap_seconds.with()->observe(migration.pause);
  }
  const std::pair<std::string_view, std::uint32_t> hedges[] = {
      {"started", record.hedges},
      {"won", record.hedges_won},
      {"lost", record.hedges_lost},
      {"failed", record.hedges_failed},
      {"inherited", record.hedges_inherited},
      {"dropped", record.hedges_dropped}};
  for (const auto& [how, count] : hedges) {
    if (count > 0) metrics.hedges_total.with(how)->add(count);
  }
  if (record.wasted_tokens > 0)
    metrics.wasted_tokens_total.with("hedge")->add(record.wasted_tokens);
}

void RequestDriver::write_access_line() {
  auto* log = core_.shared().access_log;
  if (log == nullptr) return;
  telemetry::AccessLine line;
  line.ts = std::chrono::system_clock::now();
  line.request_id = request_id_;
  line.model = machine_ ? machine_->spec().model : std::string();
  line.endpoint = endpoint_path();
  line.status = status_;
  line.outcome = outcome_;
  line.tokens = tokens_sent_;
  if (session_ != 0) line.session_hash = session_;
  if (machine_) {
    const auto& record = machine_->record();
    for (const auto index : record.workers) {
      line.workers.push_back(core_.fleet().view.workers[index].name);
    }
    for (const auto& migration : record.migrations) {
      line.modes.emplace_back(core::to_string(migration.mode));
      line.reasons.emplace_back(core::to_string(migration.reason));
      line.pauses.push_back(migration.pause);
    }
    if (record.first_token_at != Instant{}) line.ttft = record.first_token_at - started_;
  }
  log->write(line);
}

}  // namespace hf::frontend
