#include "simulator/world_frontend.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "simulator/world_request.hpp"

namespace hf::simulator {
namespace {
using std::chrono::microseconds;
using std::chrono::milliseconds;
constexpr Duration kControlTick = milliseconds(50);
constexpr std::uint64_t kTicksPerComparison = 5;
constexpr Duration kDataTick = milliseconds(15);
constexpr Duration kProbeLimit = milliseconds(400);
constexpr Duration kIdentifyLimit = milliseconds(1000);
/// A loop that is late for less than this does not restart its clocks.
constexpr Duration kLag = milliseconds(100);
/// Of the oracle: the first good probe may have been on its way when the breaker opened.
constexpr int kGoodProbesMax = 2;
/// Of the oracle: no silence that is shorter means anything.
constexpr Duration kSilenceMin = milliseconds(1'000);
/// Of the oracle: a dead worker is probed twice a second.
constexpr Duration kBackWithin = milliseconds(8'000);

std::string_view draw_policy(double share) {
  if (share < 0.2) return "round-robin";
  if (share < 0.7) return "least-loaded";
  if (share < 0.8) return "p2c";
  return share < 0.85 ? "random" : "session";
}

}  // namespace

Frontend::Frontend(Commons& commons, std::size_t index, std::size_t cores, std::uint64_t seed)
    : commons_(commons), index_(index) {
  Random random(seed);
  for (std::size_t i = 0; i < commons_.engines.size(); ++i) {
    workers_.push_back(
        std::make_unique<Worker>(std::make_shared<core::WorkerCells>(), random.next()));
    workers_.back()->known.index = i;
    workers_.back()->known.name = "engine-" + std::to_string(i);
  }
  const auto policy_name = draw_policy(random.unit());
  const auto sessions = std::make_shared<routing::SessionTable>();
  for (std::size_t i = 0; i < cores; ++i) {
    auto core = std::make_unique<DataCore>();
    core->frontend = this;
    routing::PolicyOptions options;
    options.seed = random.next();
    if (random.chance(0.3)) options.resume_prefill_tokens_max = 400;
    options.sessions = sessions;
    auto policy = routing::make_policy(policy_name, options);
    HF_ASSERT(policy.has_value());
    core->router = std::move(*policy);
    core->resume_prefill_max = options.resume_prefill_tokens_max;
    core->random = Random(random.next());
    core->context = {.view = nullptr,
                     .router = core->router.get(),
                     .retries = &core->retries,
                     .hedges = &core->hedges,
                     .random = &core->random,
                     .running_requests = 0,
                     .first_token_p99 = milliseconds(200),
                     .admission = &admission_,
                     .retries_refused = 0,
                     .hedges_refused = 0};
    cores_.push_back(std::move(core));
  }
}

Frontend::~Frontend() = default;

void Frontend::start() {
  auto view = std::make_shared<core::FleetView>();
  for (const auto& worker : workers_) {
    view->workers.push_back(worker->known);
    view->workers.back().cells = worker->cells;
  }
  for (auto& core : cores_) {
    core->view = view;
    core->context.view = view.get();
  }
  control_tick();
  data_tick();
}

void Frontend::run(std::function<void()> what) {
  if (is_paused()) {
    backlog_.push_back(std::move(what));
  } else {
    what();
  }
}

void Frontend::pause(Duration how_long) {
  if (is_paused()) return;
  paused_until_ = commons_.schedule.now() + how_long;
  paused_for_ = how_long;
  commons_.schedule.at(paused_until_, [this] { resume_process(); });
}

// As the production driver does after a lag: every clock restarts, and what came in meanwhile is
// read before timers act.
void Frontend::resume_process() {
  const auto now = commons_.schedule.now();
  if (paused_for_ >= kLag) {
    for (auto& worker : workers_) worker->machine.restart_clocks(now, paused_for_);
    for (auto& core : cores_) {
      for (auto* run : core->open) run->restart_clocks(paused_for_);
    }
  }
  for (auto& what : std::exchange(backlog_, {})) what();
}

void Frontend::apply(std::size_t index, core::WorkerMachine::Wish wish) {
  if (wish.probe) send_probe(index);
  if (wish.identify) identify(index);
  if (wish.changed) publish();
}

void Frontend::send_probe(std::size_t index) {
  auto& schedule = commons_.schedule;
  auto& worker = *workers_[index];
  if (worker.probe_open) commons_.violation("a second probe while one is under way");
  worker.probe_open = true;
  const auto number = ++worker.probe;
  const auto rtt = schedule.between(microseconds(100), milliseconds(3));
  schedule.after(rtt / 2, [this, index, number, rtt] {
    auto& engine = *commons_.engines[index];
    const auto reply = [this, index, number, rtt](core::ProbeResult result) {
      commons_.schedule.after(rtt / 2, [this, index, number, result] {
        run([this, index, number, result] { probe_ended(index, number, result); });
      });
    };
    const bool connected = engine.call([&engine, reply] {
      reply(engine.is_dying() ? core::ProbeResult::kBad : core::ProbeResult::kAnswered);
    });
    if (!connected) reply(core::ProbeResult::kRefused);
  });
  schedule.after(kProbeLimit, [this, index, number] {
    // In a stopped process the limit passes without anybody looking: that proves nothing.
    const auto result = is_paused() ? core::ProbeResult::kInconclusive : core::ProbeResult::kSilent;
    run([this, index, number, result] { probe_ended(index, number, result); });
  });
}

void Frontend::probe_ended(std::size_t index, std::uint64_t number, core::ProbeResult result) {
  auto& worker = *workers_[index];
  if (!worker.probe_open || number != worker.probe) return;
  worker.probe_open = false;
  worker.machine.set_may_eject(may_eject());
  const auto before = worker.machine.state();
  const auto wish = worker.machine.probed(commons_.schedule.now(), result);
  // Nothing was wrong with it since before the pause: what is held against it is the pause.
  const bool is_well = commons_.engines[index]->clean_since() <= paused_until_ - paused_for_;
  const bool is_verdict = before != worker.machine.state() && is_well &&
                          worker.machine.last_reason().starts_with("silent") &&
                          result != core::ProbeResult::kBad;
  if (is_verdict && paused_for_ >= kLag && commons_.schedule.now() < paused_until_ + kSilenceMin) {
    commons_.violation("worker " + std::to_string(index) + " is " +
                       std::string(core::to_string(worker.machine.state())) +
                       " for a silence during our own pause");
  }
  const bool stays_out = before == core::WorkerState::kEjected &&
                         worker.machine.state() == core::WorkerState::kEjected;
  const bool is_good = stays_out && result == core::ProbeResult::kAnswered;
  worker.good_while_ejected = is_good ? worker.good_while_ejected + 1 : 0;
  if (worker.good_while_ejected > kGoodProbesMax)
    commons_.violation("worker " + std::to_string(index) + " answers and stays ejected");
  if (commons_.trace && before != worker.machine.state()) {
    commons_.trace("frontend " + std::to_string(index_) + ": worker " + std::to_string(index) +
                   " " + std::string(core::to_string(before)) + " -> " +
                   std::string(core::to_string(worker.machine.state())) + " (" +
                   std::string(worker.machine.last_reason()) + ")");
  }
  apply(index, wish);
}

void Frontend::identify(std::size_t index) {
  auto& schedule = commons_.schedule;
  auto& worker = *workers_[index];
  if (worker.identifying) commons_.violation("a second identification while one is under way");
  worker.identifying = true;
  const auto number = ++worker.identification;
  schedule.after(schedule.between(milliseconds(2), milliseconds(30)), [this, index, number] {
    auto& engine = *commons_.engines[index];
    const auto reply = [this, index, number](bool ok) {
      commons_.schedule.after(microseconds(300), [this, index, number, ok] {
        run([this, index, number, ok] { identified(index, number, ok); });
      });
    };
    if (!engine.call([&engine, reply] { reply(!engine.is_dying()); })) reply(false);
  });
  schedule.after(kIdentifyLimit, [this, index, number] {
    run([this, index, number] { identified(index, number, false); });
  });
}

void Frontend::identified(std::size_t index, std::uint64_t number, bool ok) {
  auto& worker = *workers_[index];
  if (!worker.identifying || number != worker.identification) return;
  worker.identifying = false;
  if (ok) {
    const auto& traits = commons_.engines[index]->traits();
    worker.known.kind = traits.options.dialect == Dialect::kVllm ? 0 : 1;
    worker.known.models = {{"sim", traits.options.model_len}};
    worker.known.tokens_identity = 100 + traits.options.variant;
    worker.known.whole_known = {true, true};
    worker.known.exact_identity = 1000 * (traits.options.variant + 1) + 10 * traits.build +
                                  static_cast<std::uint64_t>(worker.known.kind);
    worker.known.eos_ids = {kImEnd};
  }
  apply(index, worker.machine.identified(commons_.schedule.now(), ok));
}

// Silence and errors take at most half of a model's workers at a time.
bool Frontend::may_eject() const {
  const auto out = std::ranges::count_if(workers_, [](const auto& worker) {
    const auto& machine = worker->machine;
    return machine.state() == core::WorkerState::kEjected ||
           machine.state() == core::WorkerState::kSlow ||
           (machine.state() == core::WorkerState::kDead && machine.last_reason() == "silent");
  });
  return static_cast<std::size_t>(out) + 1 <= std::max<std::size_t>(1, workers_.size() / 2);
}

bool Frontend::is_last(std::size_t index) const {
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (i != index && core::takes_work(workers_[i]->machine.state())) return false;
  }
  return true;
}

void Frontend::compare_pace() {
  const auto now = commons_.schedule.now();
  const auto pace = [now](const Worker& worker) -> core::Pace {
    return {worker.cells->itl.quantile(0.5, now, 3), worker.cells->itl.count(now, 3)};
  };
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    std::vector<Duration> peers;
    for (std::size_t k = 0; k < workers_.size(); ++k) {
      if (const auto its = pace(*workers_[k]); k != i && its.is_known())
        peers.push_back(its.median);
    }
    std::ranges::sort(peers);
    auto& machine = workers_[i]->machine;
    machine.set_may_eject(may_eject());
    apply(i, machine.compared(now, pace(*workers_[i]),
                              peers.empty() ? Duration{} : peers[peers.size() / 2]));
  }
}

void Frontend::publish() {
  auto view = std::make_shared<core::FleetView>();
  view->version = ++version_;
  for (auto& worker : workers_) {
    core::WorkerStatus status = worker->known;
    status.state = worker->machine.state();
    // As the fleet of production: what runs there still wants to know whether it lives.
    const bool idle = worker->cells->running.load() == 0;
    const bool concerns_streams =
        status.state == core::WorkerState::kDead || status.state == core::WorkerState::kSuspect;
    if (worker->absent > 0 && (idle || !concerns_streams))
      status.state = core::WorkerState::kRemoved;
    status.deaths = worker->machine.deaths();
    status.alive_at = worker->machine.alive_at();
    status.cells = worker->cells;
    view->workers.push_back(std::move(status));
  }
  auto& schedule = commons_.schedule;
  for (auto& core : cores_) {
    core->view_at = std::max(schedule.now() + schedule.between(microseconds(20), milliseconds(1)),
                             core->view_at + Duration(1));
    schedule.at(core->view_at, [this, view, its_core = core.get()] {
      run([view, its_core] {
        const auto kept = std::exchange(its_core->view, view);  // machines may still look at it
        its_core->context.view = view.get();
        for (std::size_t i = 0; i < its_core->open.size(); ++i) its_core->open[i]->on_view();
      });
    });
  }
}

void Frontend::lose(std::size_t engine, Duration how_long) {
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    if (engine != static_cast<std::size_t>(-1) && i != engine) continue;
    if (i == commons_.is_protected) continue;
    ++workers_[i]->absent;
    workers_[i]->listed_since = kNever;
    commons_.schedule.after(how_long, [this, i] {
      auto& worker = *workers_[i];
      if (--worker.absent > 0) return;
      worker.listed_since = commons_.schedule.now();
      worker.machine.restart_clocks(commons_.schedule.now(), {});
      publish();
      publish();  // it may say so twice
    });
  }
  publish();
}

Instant Frontend::listed_since(std::size_t engine) const {
  return workers_[engine]->listed_since;
}

void Frontend::attempt_failed(std::size_t index, core::Reason reason) {
  run([this, index, reason] {
    auto& machine = workers_[index]->machine;
    machine.set_may_eject(may_eject());
    const auto before = machine.state();
    const auto wish = machine.attempt_failed(commons_.schedule.now(), reason);
    workers_[index]->good_while_ejected = 0;
    if (commons_.trace && before != machine.state()) {
      commons_.trace("frontend " + std::to_string(index_) + ": worker " + std::to_string(index) +
                     " " + std::string(core::to_string(before)) + " -> " +
                     std::string(core::to_string(machine.state())) +
                     " (attempt failed: " + std::string(core::to_string(reason)) + ")");
    }
    apply(index, wish);
  });
}

void Frontend::attempt_succeeded(std::size_t index) {
  workers_[index]->machine.attempt_succeeded(commons_.schedule.now());
}

void Frontend::control_tick() {
  if (stopped_) return;
  if (!is_paused()) {
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      auto& machine = workers_[i]->machine;
      machine.set_may_eject(may_eject());
      machine.set_is_last(is_last(i));
      apply(i, machine.tick(commons_.schedule.now()));
    }
    if (++control_ticks_ % kTicksPerComparison == 0) compare_pace();
  }
  commons_.schedule.after(kControlTick, [this] { control_tick(); });
}

void Frontend::data_tick() {
  if (stopped_) return;
  if (!is_paused()) {
    for (auto& core : cores_) {
      std::erase_if(core->open, [](const ClientRun* run) { return run->is_done(); });
      core->context.running_requests = static_cast<std::int64_t>(core->open.size());
      for (std::size_t i = 0; i < core->open.size(); ++i) core->open[i]->tick();
    }
  }
  commons_.schedule.after(kDataTick, [this] { data_tick(); });
}

void Frontend::check_workers() const {
  const auto now = commons_.schedule.now();
  if (now < paused_until_ + kBackWithin) return;
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    const auto state = workers_[i]->machine.state();
    const auto since = commons_.engines[i]->clean_since();
    const bool is_out = state == core::WorkerState::kDead || state == core::WorkerState::kStarting;
    if (!is_out || since == kNever || now < since + kBackWithin) continue;
    commons_.violation("worker " + std::to_string(i) + " is still " +
                       std::string(core::to_string(state)) + ", its engine is well for " +
                       std::to_string(millis(now - since)) + " ms");
  }
}

void Frontend::check_released() {
  const auto check = [this](std::string_view what, std::int64_t value) {
    if (value != 0) {
      commons_.violation("frontend " + std::to_string(index_) + ": " + std::string(what) + " is " +
                         std::to_string(value) + " at the end");
    }
  };
  for (const auto& worker : workers_) {
    check("running", worker->cells->running.load());
    check("reading", worker->cells->reading.load());
    check("prefill_owed", worker->cells->prefill_owed.load());
    check("resume_prefill", worker->cells->resume_prefill.load());
    check("suspects", worker->cells->suspects.load());
  }
  for (const auto& core : cores_) check("hedges", core->hedges.running());
  check("queue", admission_.waiting());
}

}  // namespace hf::simulator
