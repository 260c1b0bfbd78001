#include "frontend/fleet.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "engine/dialect.hpp"
#include "http/fetch.hpp"
#include "net/clock.hpp"

namespace hf::frontend {
namespace {

using core::ProbeResult;
using core::WorkerState;

constexpr Duration kTick = std::chrono::milliseconds(25);
constexpr Duration kLateLoop = std::chrono::milliseconds(100);
constexpr Duration kIdentifyCall = std::chrono::seconds(10);
constexpr Duration kModelsEvery = std::chrono::seconds(10);
constexpr Duration kForgetAfter = std::chrono::minutes(10);  // a gone worker's series
constexpr Duration kLoadEvery = std::chrono::seconds(1);
constexpr Duration kLoadAgain = std::chrono::seconds(30);  // where the page is not there
constexpr Duration kCompareEvery = std::chrono::milliseconds(250);
constexpr std::size_t kPaceSeconds = core::kPaceLooksBack / std::chrono::seconds(1);
constexpr std::size_t kProbeBodyMax = 4UL * 1024 * 1024;

// The key itself is never logged or shown; that it is missing is.
std::string authorization_of(const EngineOptions& engine) {
  if (engine.api_key_env.empty()) return {};
  const char* key = std::getenv(engine.api_key_env.c_str());
  const std::string_view value = key == nullptr ? "" : key;
  const bool fits = std::ranges::all_of(value, [](char c) { return c > ' ' && c <= '~'; });
  if (!value.empty() && fits) return "Bearer " + std::string(value);
  std::fprintf(stderr,
               "holdfast serve: engine %s: its api_key_env %s %s; it is asked without a key\n",
               engine.endpoint.to_string().c_str(), engine.api_key_env.c_str(),
               value.empty() ? "is not set" : "holds a character that no header may have");
  return {};
}

}  // namespace

Fleet::Fleet(net::Core& core, std::shared_ptr<const ServeOptions> options,
             telemetry::ServeMetrics& metrics, Publish publish)
    : core_(core),
      options_(std::move(options)),
      metrics_(metrics),
      publish_(std::move(publish)),
      pool_(core) {
  for (const auto& engine : options_->engines) add_worker(engine);
  renew();
}

void Fleet::add_worker(const EngineOptions& engine) {
  Worker worker;
  worker.endpoint = engine.endpoint;
  worker.name = engine.endpoint.to_string();
  worker.authorization = authorization_of(engine);
  worker.cells = std::make_shared<core::WorkerCells>();
  worker.machine = std::make_unique<core::WorkerMachine>(worker.cells, workers_.size() + 2);
  workers_.push_back(std::move(worker));
}

http::FetchRequest Fleet::probe_request(const Worker& worker) const {
  http::FetchRequest request;
  request.headers.append("Accept-Encoding", "identity");
  if (!worker.authorization.empty()) request.headers.append("Authorization", worker.authorization);
  return request;
}

void Fleet::apply(std::shared_ptr<const ServeOptions> options) {
  options_ = std::move(options);
  const auto now = net::now();
  for (auto& worker : workers_) {
    const auto entry =
        std::ranges::find(options_->engines, worker.endpoint, &EngineOptions::endpoint);
    const bool listed = entry != options_->engines.end();
    if (listed) worker.authorization = authorization_of(*entry);
    if (worker.removed == !listed) continue;
    worker.removed = !listed;
    worker.removed_at = now;
    worker.forgotten = false;
    // Nobody looked at it meanwhile: its silence proves nothing.
    if (listed) worker.machine->restart_clocks(now);
  }
  for (const auto& engine : options_->engines) {
    if (std::ranges::find(workers_, engine.endpoint, &Worker::endpoint) == workers_.end())
      add_worker(engine);
  }
  renew();
}

bool Fleet::is_idle(const Worker& worker) const {
  return worker.cells->running.load(std::memory_order_relaxed) == 0;
}

// While streams run on a removed worker, whether it lives still matters to them.
WorkerState Fleet::state_of(const Worker& worker) const {
  const auto state = worker.machine->state();
  const bool concerns_streams = state == WorkerState::kDead || state == WorkerState::kSuspect;
  if (worker.removed && (is_idle(worker) || !concerns_streams)) return WorkerState::kRemoved;
  return state;
}

void Fleet::tend_removed(Instant now) {
  bool changed = false;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    auto& worker = workers_[i];
    if (!worker.removed || worker.forgotten || !is_idle(worker)) continue;
    changed = changed || snapshot_->view.workers[i].state != WorkerState::kRemoved;
    if (now - worker.removed_at < kForgetAfter) continue;
    worker.forgotten = true;
    metrics_.forget_worker(worker.name);
  }
  if (changed) renew();
}

void Fleet::start() {
  ticker_ = std::make_unique<net::Ticker>(core_, kTick,
                                          [this](Instant now, Duration lag) { tick(now, lag); });
}

void Fleet::stop() {
  ticker_.reset();
}

void Fleet::report(std::size_t worker, core::Reason reason) {
  core_.post([this, worker, reason] {
    allow_ejection(worker);
    carry_out(worker, workers_[worker].machine->attempt_failed(net::now(), reason));
  });
}

void Fleet::succeeded(std::size_t worker) {
  core_.post([this, worker] { workers_[worker].machine->attempt_succeeded(net::now()); });
}

void Fleet::tick(Instant now, Duration lag) {
  if (lag > kLateLoop) {
    for (auto& worker : workers_) worker.machine->restart_clocks(now, lag);
  }
  tend_removed(now);
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (workers_[i].removed && is_idle(workers_[i])) continue;
    allow_ejection(i);
    carry_out(i, workers_[i].machine->tick(now));
    auto& worker = workers_[i];
    if (core::takes_work(worker.machine->state()) && now - worker.models_read_at >= kModelsEvery) {
      worker.models_read_at = now;
      core_.spawn(read_models(i), "read models");
    }
    // Only the first tokens that are owed make us ask: an idle fleet costs nothing.
    if (worker.cells->prefill_owed.load(std::memory_order_relaxed) > 0 && !worker.reading_load &&
        now - worker.load_read_at >= kLoadEvery && worker.has_info) {
      worker.load_read_at = now;
      core_.spawn(read_load(i), "read load");
    }
  }
  if (now - compared_at_ >= kCompareEvery) {
    compared_at_ = now;
    compare_pace(now);
  }
}

bool Fleet::serve_same(const Worker& a, const Worker& b) const {
  return std::ranges::any_of(a.info.models, [&](const auto& model) {
    return std::ranges::find(b.info.models, model.name, &engine::ModelInfo::name) !=
           b.info.models.end();
  });
}

void Fleet::compare_pace(Instant now) {
  std::vector<core::Pace> paces;
  for (const auto& worker : workers_) {
    const auto& itl = worker.cells->itl;
    paces.push_back({itl.quantile(0.5, now, kPaceSeconds), itl.count(now, kPaceSeconds)});
  }
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    std::vector<Duration> peers;
    for (std::size_t k = 0; k < workers_.size(); ++k) {
      if (k != i && paces[k].is_known() && serve_same(workers_[i], workers_[k]))
        peers.push_back(paces[k].median);
    }
    const auto middle = peers.begin() + static_cast<std::ptrdiff_t>(peers.size() / 2);
    if (!peers.empty()) std::ranges::nth_element(peers, middle);
    allow_ejection(i);
    carry_out(i,
              workers_[i].machine->compared(now, paces[i], peers.empty() ? Duration{} : *middle));
  }
}

// Silence, errors and slowness may take at most half of a model's workers: rather a slow answer
// than none.
void Fleet::allow_ejection(std::size_t index) {
  const auto& self = workers_[index];
  std::size_t total = 0;
  std::size_t out = 0;
  bool is_last = true;
  for (const auto& other : workers_) {
    if (other.removed || !serve_same(self, other)) continue;
    ++total;
    if (&other == &self) continue;
    const auto state = other.machine->state();
    const bool by_silence = state == WorkerState::kDead && other.machine->last_reason() == "silent";
    if (by_silence || state == WorkerState::kEjected || state == WorkerState::kSlow) ++out;
    if (core::takes_work(state)) is_last = false;
  }
  self.machine->set_may_eject((out + 1) * 2 <= total);
  self.machine->set_is_last(is_last);
}

void Fleet::carry_out(std::size_t index, const core::WorkerMachine::Wish& wish) {
  if (wish.probe) core_.spawn(probe(index), "probe");
  if (wish.identify) core_.spawn(identify(index), "identify");
  if (!wish.changed) return;
  auto& worker = workers_[index];
  if (worker.machine->state() == WorkerState::kDead) pool_.drop_all(worker.endpoint);
  renew();
}

void Fleet::renew() {
  auto next = std::make_shared<FleetSnapshot>();
  next->view.version = ++version_;
  next->at = net::now();
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const auto& worker = workers_[i];
    core::WorkerStatus status;
    status.index = i;
    status.name = worker.name;
    status.state = state_of(worker);
    status.kind = static_cast<int>(worker.info.kind);
    for (const auto& model : worker.info.models)
      status.models.push_back({model.name, model.max_len, model.adapter});
    status.tokens_identity = worker.info.tokens_identity;
    status.exact_identity = worker.info.exact_identity;
    status.eos_ids = worker.info.eos_ids;
    for (std::size_t e = 0; e < worker.whole.size(); ++e)
      status.whole_known[e] = worker.whole[e] != nullptr;
    status.deaths = worker.machine->deaths();
    status.alive_at = worker.machine->alive_at();
    status.cells = worker.cells;
    const bool known = snapshot_ && i < snapshot_->view.workers.size();
    const auto* before = known ? &snapshot_->view.workers[i] : nullptr;
    if (!worker.forgotten && (before == nullptr || before->state != status.state)) {
      metrics_.set_worker_state(worker.name, core::to_string(status.state));
      if (before != nullptr) log_change(worker, status.state);
    }
    next->view.workers.push_back(std::move(status));
    next->facts.push_back({worker.endpoint, worker.info.kind, worker.info.fingerprint,
                           taken_for(worker), worker.whole, worker.authorization});
  }
  snapshot_ = std::move(next);
  if (ticker_) publish_(snapshot_);  // before start() nobody listens
}

// For the log and /health: what the engine was taken for, and what a failure of it would cost.
std::string Fleet::taken_for(const Worker& worker) const {
  if (!worker.has_info) return "not identified yet";
  auto modes = options_->migration;
  std::string line = "taken for " + worker.info.name;
  if (!worker.info.version.empty()) line += " " + worker.info.version;
  if (!worker.info.models.empty()) {
    const auto& name = worker.info.models.front().name;
    line += ", model " + name;
    const auto own = options_->models.find(name);
    if (own != options_->models.end()) modes.text = own->second.text.value_or(modes.text);
  }
  line += ": a failure ";
  if (!modes.restart && !modes.tokens && !modes.text) {
    return line + "ends the request (continuation.modes is empty)";
  }
  if (modes.tokens && worker.info.tokens_identity != 0) return line + "costs a pause (mode tokens)";
  if (modes.restart) line += "before the first token costs a pause (mode restart); ";
  line += modes.restart ? "after it, " : "after the first token, ";
  if (modes.text) return line + "another worker goes on from the text (mode text)";
  return line + "one clear error (mode text in continuation.modes would go on from the text)";
}

void Fleet::log_change(const Worker& worker, WorkerState state) {
  if (state == WorkerState::kDead || state == WorkerState::kEjected ||
      state == WorkerState::kSlow) {
    metrics_.ejections_total.with(worker.name, worker.machine->last_reason())->add();
  }
  std::string line =
      "holdfast serve: worker " + worker.name + " is " + std::string(core::to_string(state));
  if (state != WorkerState::kRemoved)
    line += " (" + std::string(worker.machine->last_reason()) + ")";
  if (state == WorkerState::kReady && worker.has_info) {
    line += ": " + taken_for(worker);
  }
  std::fprintf(stderr, "%s\n", line.c_str());
}

net::Task<void> Fleet::probe(std::size_t index) {
  const auto started = net::now();
  auto request = probe_request(workers_[index]);
  request.target = std::string(engine::Dialect::of(workers_[index].info.kind).health_path());
  if (!workers_[index].has_info) request.target = "/health";
  auto endpoint = workers_[index].endpoint;
  auto fetched = http::fetch(pool_, std::move(endpoint), std::move(request),
                             started + options_->probe_timeout, kProbeBodyMax);
  const auto answer = co_await std::move(fetched);
  const auto now = net::now();
  auto result = ProbeResult::kSilent;
  if (answer) {
    // Not every engine has a health page; one that says 404 is there. 5xx: it says it is not well.
    result = answer->status < 500 ? ProbeResult::kAnswered : ProbeResult::kBad;
  } else if (answer.error().code == Code::kRefused) {
    result = ProbeResult::kRefused;
  } else if (answer.error().code == Code::kReset || answer.error().code == Code::kClosed) {
    result = ProbeResult::kReset;
  }
  // A late loop makes every answer late: that proves nothing about the engine.
  if (result == ProbeResult::kSilent && now - started > options_->probe_timeout + kLateLoop) {
    result = ProbeResult::kInconclusive;
  }
  allow_ejection(index);
  carry_out(index, workers_[index].machine->probed(now, result));
}

net::Task<Result<engine::EngineInfo>> Fleet::ask_who(std::size_t index) {
  engine::Probe who;
  auto step = who.start();
  while (auto* call = std::get_if<engine::WireRequest>(&step)) {
    auto request = probe_request(workers_[index]);
    request.method = std::string(call->method);
    request.target = call->path;
    request.body = call->body;
    if (!request.body.empty()) request.headers.append("Content-Type", "application/json");
    auto endpoint = workers_[index].endpoint;
    auto fetched = http::fetch(pool_, std::move(endpoint), std::move(request),
                               net::now() + kIdentifyCall, kProbeBodyMax);
    auto answer = co_await std::move(fetched);
    if (!answer) co_return std::unexpected(answer.error());
    step = who.next(answer->status, answer->body);
  }
  if (auto* error = std::get_if<Error>(&step)) co_return std::unexpected(*error);
  co_return std::move(std::get<engine::EngineInfo>(step));
}

net::Task<void> Fleet::identify(std::size_t index) {
  auto info = co_await ask_who(index);
  auto& worker = workers_[index];
  if (info) {
    worker.info = std::move(*info);
    worker.has_info = true;
    learn_whole(worker);
    worker.models_read_at = net::now();
  }
  carry_out(index, worker.machine->identified(net::now(), info.has_value()));
}

void Fleet::learn_whole(Worker& worker) {
  worker.cells->may_assemble.store(true, std::memory_order_relaxed);
  const auto learn = [&](core::Endpoint endpoint, std::string& body) {
    auto& slot = worker.whole[static_cast<std::size_t>(endpoint)];
    slot.reset();
    auto learned = engine::WholeTemplate::learn(worker.info.kind, endpoint, body);
    if (learned) slot = std::make_shared<const engine::WholeTemplate>(std::move(*learned));
    body = std::string();
  };
  learn(core::Endpoint::kChat, worker.info.whole_chat);
  learn(core::Endpoint::kCompletions, worker.info.whole_completions);
}

// How many requests wait inside of the engine; a page that is not there is asked for rarely.
net::Task<void> Fleet::read_load(std::size_t index) {
  const auto& dialect = engine::Dialect::of(workers_[index].info.kind);
  if (dialect.metrics_path().empty()) co_return;
  workers_[index].reading_load = true;
  auto request = probe_request(workers_[index]);
  request.target = std::string(dialect.metrics_path());
  auto endpoint = workers_[index].endpoint;
  auto fetched = http::fetch(pool_, std::move(endpoint), std::move(request),
                             net::now() + kLoadEvery, kProbeBodyMax);
  const auto answer = co_await std::move(fetched);
  auto& worker = workers_[index];
  worker.reading_load = false;
  if (!answer) co_return;
  if (answer->status != 200) {
    worker.load_read_at = net::now() + kLoadAgain;
    co_return;
  }
  const auto load = dialect.load(answer->body);
  worker.cells->set_engine_load(net::now(), static_cast<std::int64_t>(load.waiting));
}

// LoRA adapters come and go.
net::Task<void> Fleet::read_models(std::size_t index) {
  auto request = probe_request(workers_[index]);
  request.target = "/v1/models";
  auto endpoint = workers_[index].endpoint;
  auto fetched = http::fetch(pool_, std::move(endpoint), std::move(request),
                             net::now() + kIdentifyCall, kProbeBodyMax);
  auto answer = co_await std::move(fetched);
  if (!answer || answer->status != 200) co_return;
  auto read = engine::Probe::read_models(answer->body);
  if (!read || read->models.empty()) co_return;
  auto& models = workers_[index].info.models;
  const bool same = std::ranges::equal(models, read->models, {}, &engine::ModelInfo::name,
                                       &engine::ModelInfo::name);
  if (same) co_return;
  for (auto& fresh : read->models) {
    // The list alone does not tell every length; what the probe learned stays.
    const auto known = std::ranges::find(models, fresh.name, &engine::ModelInfo::name);
    if (known != models.end()) fresh = *known;
  }
  models = std::move(read->models);
  renew();
}

}  // namespace hf::frontend
