#include "frontend/request_driver.hpp"

#include <algorithm>
#include <utility>

#include "engine/questions.hpp"
#include "frontend/attempt_driver.hpp"
#include "frontend/error_response.hpp"
#include "frontend/header_rules.hpp"
#include "net/clock.hpp"
#include "wire/chunk.hpp"
#include "wire/json.hpp"

namespace hf::frontend {
namespace {

constexpr Duration kAloneMax = std::chrono::minutes(10);  // on_disconnect: finish
constexpr int kClientGone = 499;                          // in the log only
constexpr int kKinds = 3;
// Hardly any text has longer tokens than this on average: fewer than that it surely has not.
constexpr std::size_t kBytesPerTokenMax = 16;
constexpr std::int64_t kNoLimit = 1'000'000;  // tokens, where no limit is known (llama.cpp)

}  // namespace

RequestDriver::RequestDriver(DataCore& core, http::ServerConnection& client, http::Request request,
                             const Destination& to, std::string request_id)
    : core_(core),
      client_(client),
      http_(std::move(request)),
      endpoint_(to.endpoint),
      route_(to.route),
      request_id_(std::move(request_id)),
      finished_(core.core()) {}

RequestDriver::~RequestDriver() = default;

std::string RequestDriver::model_of(const engine::ClientRequest& request) const {
  if (!request.model.empty()) return request.model;
  // Engines take a request without a model as one for their first; so do we, if all have the same.
  std::string only;
  for (const auto& worker : core_.fleet().view.workers) {
    if (worker.models.empty() || worker.state == core::WorkerState::kRemoved) continue;
    if (!only.empty() && only != worker.models.front().name) return {};
    only = worker.models.front().name;
  }
  return only;
}

core::RequestSpec RequestDriver::spec_of(const engine::ClientRequest& request, std::string model) {
  core::RequestSpec spec;
  spec.endpoint = request.endpoint;
  spec.model = std::move(model);
  spec.stream = request.stream;
  spec.include_usage = request.include_usage;
  spec.choices = engine::choices_of(request);
  for (int i = 0; i < kKinds; ++i) {
    const auto kind = static_cast<engine::Kind>(i);
    const auto& dialect = engine::Dialect::of(kind);
    spec.tokens_allowed.push_back(kind != engine::Kind::kOpenAi &&
                                  !dialect.tokens_refused_by(request));
    spec.text_allowed.push_back(!dialect.text_refused_by(request));
    spec.drops_held_text.push_back(kind == engine::Kind::kLlamaCpp);
    spec.default_max.push_back(
        std::max<std::int64_t>(0, dialect.default_max_tokens(request, 0, 0)));
  }
  spec.max_tokens = request.max_tokens;
  spec.min_tokens = request.min_tokens;
  spec.stop = request.stop;
  spec.stop_token_ids = request.stop_token_ids;
  spec.ignore_eos = request.ignore_eos;
  spec.greedy = request.greedy;
  if (request.has_prompt_ids) spec.prompt_ids = request.prompt_ids;
  spec.prompt_tokens_estimate = static_cast<std::int64_t>(request.prompt_bytes / 4 + 1);
  spec.prompt_tokens_min = static_cast<std::int64_t>(request.prompt_bytes / kBytesPerTokenMax);
  spec.body_bytes = request.body.size();
  return spec;
}

void RequestDriver::start(Instant now) {
  started_ = now;
  chunked_ = http_.version_minor >= 1;
  forwarded_headers_ = to_engine(http_.headers, "application/json", core_.options().auth);
  if (route_ != nullptr) {
    start_relay(now);
    return;
  }
  auto scanned = engine::scan_request(endpoint_, std::move(http_.body));
  if (!scanned) {
    refuse_body(scanned.error());
    return;
  }
  request_ = std::move(*scanned);
  begin(spec_of(*request_, model_of(*request_)), now);
}

void RequestDriver::refuse_body(const Error& error) {
  running_gauge_ = core_.shared().metrics.requests_running.with(telemetry::kUnknownModel);
  running_gauge_->add(1);
  fail(bad_request(error));
  settle();
}

// What the configuration says of its model and its session.
void RequestDriver::prepare(core::RequestSpec& spec) {
  const auto& options = core_.options();
  const auto configured = options.models.find(spec.model);
  const bool is_configured = configured != options.models.end();
  // Another endpoint's body is not ours to read: it keeps its model.
  if (is_configured && !spec.relayed) spec.fallback = configured->second.fallback;
  if (options.routing == "session") {
    session_ = session_of(core_.session_key(), http_.headers, request_ ? &*request_ : nullptr);
    if (session_ == 0) core_.count_keyless();
    spec.session = session_;
  }
  const bool known = is_configured || core_.fleet().view.known_model(spec.model);
  model_label_ = known ? spec.model : std::string(telemetry::kUnknownModel);
}

void RequestDriver::begin(core::RequestSpec spec, Instant now) {
  if (spec.model.empty() && !core_.fleet().view.starting()) {
    refuse_body({.code = Code::kBadInput,
                 .detail = "`model` is missing, and there are several; GET /v1/models lists them"});
    return;
  }
  auto& metrics = core_.shared().metrics;
  prepare(spec);
  const auto limits = limits_of(spec.model);
  running_gauge_ = metrics.requests_running.with(model_label_);
  running_gauge_->add(1);
  machine_ =
      std::make_unique<core::RequestMachine>(std::move(spec), limits, core_.context(), *this);
  if (chunked_) client_.set_probe("HTTP/1.1 100 Continue\r\n\r\n");
  client_.on_gone([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->client_gone();
  });
  machine_->start(now);
  settle();
}

core::MigrationOptions RequestDriver::limits_of(std::string_view model) const {
  const auto& options = core_.options();
  auto limits = options.migration;
  limits.queue_max = options.admission_queue_max;
  limits.queue_bytes_max = options.admission_queue_bytes_max;
  const auto& models = options.models;
  if (const auto found = models.find(model); found != models.end()) {
    const auto& own = found->second;
    limits.first_token_limit = own.first_token_limit.value_or(limits.first_token_limit);
    limits.token_limit = own.token_limit.value_or(limits.token_limit);
    limits.admission_hold = own.admission_hold.value_or(limits.admission_hold);
    limits.text = own.text.value_or(limits.text);
  }
  return limits;
}

// A fallback model gets the client's body with its own name in it.
void RequestDriver::serve_with(std::string_view model) {
  if (!request_) return;
  if (request_->model.empty() ? model == machine_->spec().model : model == request_->model) return;
  if (auto renamed = engine::with_model(*request_, model)) request_ = std::move(*renamed);
}

void RequestDriver::note_queue() {
  const bool queued = machine_ && machine_->is_queued();
  if (queued == is_counted_queued_) return;
  is_counted_queued_ = queued;
  if (!queued_gauge_) {
    queued_gauge_ = core_.shared().metrics.requests_queued.with(model_label_);
  }
  queued_gauge_->add(queued ? 1 : -1);
}

void RequestDriver::client_gone() {
  if (is_done_) return;
  const std::string_view reason = client_.was_cut() ? "slow_client" : "client_gone";
  if (machine_ && core_.options().on_disconnect == OnDisconnect::kFinish) {
    alone_since_ = net::now();
    tokens_read_ = tokens_sent_;
    return;
  }
  if (machine_) {
    core_.shared().metrics.cancellations_total.with(reason, machine_->phase())->add();
    machine_->on_client_gone(net::now());
  }
  finish(kClientGone, reason);
  settle();
}

void RequestDriver::on_view(Instant now) {
  if (is_done_ || !machine_) return;
  machine_->on_view(now);
  settle();
}

void RequestDriver::on_room(Instant now) {
  if (is_done_ || !machine_) return;
  machine_->on_room(now);
  settle();
}

void RequestDriver::tick(Instant now) {
  if (alone_since_ != Instant{} && now - alone_since_ >= kAloneMax && !is_done_ && machine_) {
    machine_->on_client_gone(now);
    finish(kClientGone, "client_gone");
    settle();
  }
  if (is_done_ || !machine_ || now < machine_->deadline()) return;
  machine_->tick(now);
  settle();
}

void RequestDriver::restart_clocks(Instant now, Duration late) {
  if (!is_done_ && machine_) machine_->restart_clocks(now, late);
}

void RequestDriver::count_memory() {
  std::size_t bytes = client_.out().capacity();
  if (request_) {
    bytes += request_->body.capacity() + request_->prompt_ids.capacity() * sizeof(core::TokenId);
  }
  if (machine_) bytes += machine_->memory_bytes();
  for (const auto& attempt : attempts_) bytes += attempt->memory_bytes();
  http_.held.set(static_cast<std::int64_t>(bytes));
}

bool RequestDriver::cancel_by_operator(core::CancelMode mode) {
  if (is_done_ || !machine_) return false;
  // Without an event of its engine there is no form for one of ours.
  const bool has_form =
      request_ && (request_->stream ? skeleton_ && skeleton_->ready() : whole_.has_value());
  if (!has_form) mode = core::CancelMode::kKill;
  stopped_ = mode == core::CancelMode::kStop;
  core_.shared()
      .metrics.cancellations_total.with(stopped_ ? "stop" : "kill", machine_->phase())
      ->add();
  machine_->on_cancel(net::now(), mode);
  settle();
  return true;
}

std::string RequestDriver::describe(Instant now) const {
  std::string out = R"({"id":)";
  wire::json_append_string(out, request_id_);
  out += R"(,"state":"running","endpoint":")";
  out += endpoint_path();
  out += R"(","model":)";
  wire::json_append_string(out, model_label_);
  out += R"(,"phase":")";
  out += machine_ ? machine_->phase() : "queue";
  out +=
      R"(","age_ms":)" +
      std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(now - started_).count());
  out += R"(,"tokens":)" + std::to_string(tokens_sent_) + R"(,"line":)";
  wire::json_append_string(out, machine_ ? machine_->describe() : std::string());
  return out + "}";
}

void RequestDriver::cut() {
  if (is_done_) return;
  if (machine_) machine_->on_client_gone(net::now());
  fail(core::client_error(core::ErrorKind::kShuttingDown,
                          "The server is shutting down and this answer did not end in time."));
  settle();
}

void RequestDriver::abandon() {
  is_done_ = true;
  is_finished_ = true;
  machine_.reset();
}

AttemptDriver* RequestDriver::find(core::AttemptId id) {
  const auto it = std::ranges::find_if(attempts_, [id](const auto& a) { return a->id() == id; });
  return it == attempts_.end() ? nullptr : it->get();
}

void RequestDriver::release(AttemptDriver& attempt) {
  if (attempt.status() != 0 && attempt.status() != 200) last_whole_ = attempt.shared_from_this();
  std::erase_if(attempts_, [&](const auto& a) { return a.get() == &attempt; });
}

void RequestDriver::settle() {
  if (is_finished_) return;
  note_queue();
  client_.flush_now();
  if (!is_done_) return;
  is_finished_ = true;
  client_.on_gone({});
  finished_.notify_all();
}

void RequestDriver::report(AttemptDriver& attempt, const core::UpstreamEvent& event) {
  reporting_ = &attempt;
  const auto now = net::now();
  const bool to_client = request_->stream && !attempt.event().drop;
  if (event.kind == core::EventKind::kRole && !machine_->has_sent() && to_client) {
    event_.clear();
    engine::append_edited(event_, attempt.event_bytes(), attempt.event());
    capture(attempt, event_);
  }
  if (event.kind == core::EventKind::kTokens && !event.text.empty()) {
    if (last_token_ == Instant{}) {
      core_.first_token_window().add(now, now - started_);
      core_.shared().metrics.time_to_first_token_seconds.with()->observe(now - started_);
    }
    if (last_token_ != Instant{}) core_.inter_token().observe(now - last_token_);
    last_token_ = now;
  }
  const bool room_before = machine_->record().first_token_at != Instant{};
  machine_->on_event(now, attempt.id(), event);
  if (!room_before && machine_->record().first_token_at != Instant{}) core_.room_made();
  reporting_ = nullptr;
}

const engine::Identity* RequestDriver::identity_for(const AttemptDriver& attempt) const {
  if (!identity_ || identity_from_ == attempt.id()) return nullptr;
  return &*identity_;
}

// Learns how this stream's events look, from the attempt whose events the client gets first.
void RequestDriver::capture(AttemptDriver& attempt, std::string_view edited_event) {
  if (skeleton_ && skeleton_from_ != attempt.id() && identity_ && identity_from_ != attempt.id()) {
    if (!skeleton_->settled()) skeleton_->capture_event(edited_event);
    return;
  }
  if (!skeleton_ || skeleton_from_ != attempt.id()) {
    const auto& facts = core_.fleet().facts[attempt.opened().worker];
    engine::SkeletonOptions options;
    options.kind = facts.kind;
    options.endpoint = endpoint_;
    options.include_usage = request_->include_usage;
    options.continuous_usage = request_->continuous_usage;
    options.fingerprint = facts.fingerprint;
    skeleton_.emplace(std::move(options));
    skeleton_from_ = attempt.id();
  }
  if (!skeleton_->settled()) skeleton_->capture_event(edited_event);
}

void RequestDriver::open(const core::OpenAttempt& open) {
  serve_with(open.model);
  const auto& facts = core_.fleet().facts[open.worker];
  const auto& dialect = engine::Dialect::of(facts.kind);
  engine::WireRequest call;
  if (route_ != nullptr) {
    call = relayed_call();
  } else if (open.mode == core::Mode::kTokens) {
    const auto carried = machine_->carried_ids();
    engine::ResumeSpec spec;
    spec.prompt_ids = machine_->prompt_ids();
    spec.sent_ids.assign(carried.begin(), carried.end());
    spec.max_tokens = open.max_tokens > 0 ? open.max_tokens : kNoLimit;
    spec.min_tokens = open.min_tokens;
    call = dialect.resume(*request_, spec);
    if (!open.exact) approximate_ = true;
  } else if (open.mode == core::Mode::kText) {
    engine::TextSpec spec;
    spec.text = machine_->sent_text();
    spec.max_tokens = open.max_tokens;
    spec.min_tokens = open.min_tokens;
    call = dialect.resume_text(*request_, spec);
  } else {
    call = dialect.first(*request_, open.with_ids);
  }
  auto attempt = std::make_shared<AttemptDriver>(shared_from_this(), open, std::move(call));
  attempts_.push_back(attempt);
  count_memory();
  // Posted: nothing of the attempt may run inside of the machine's call.
  core_.core().post([&core = core_.core(), attempt = std::move(attempt)]() mutable {
    core.spawn(AttemptDriver::run(std::move(attempt)), "attempt");
  });
}

void RequestDriver::cancel(core::AttemptId id) {
  if (auto* attempt = find(id)) attempt->cancel();
}

void RequestDriver::report(std::size_t worker, core::Reason reason) {
  auto& shared = core_.shared();
  shared.metrics.attempts_total
      .with(core_.fleet().view.workers[worker].name, core::to_string(reason))
      ->add();
  core_.report(worker, reason);
}

void RequestDriver::ask(core::Question question, std::size_t worker, std::uint32_t plan) {
  core_.core().post([self = shared_from_this(), question, worker, plan] {
    self->core_.core().spawn(run_question(self, question, worker, plan), "question");
  });
}

}  // namespace hf::frontend
