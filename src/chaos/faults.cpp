#include "chaos/faults.hpp"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <csignal>

#include "chaos/step_kinds.hpp"
#include "net/clock.hpp"
#include "net/signal.hpp"

namespace hf::chaos {
namespace {

constexpr Duration kPoll = std::chrono::milliseconds(5);
constexpr Duration kTriggerLimit = std::chrono::seconds(60);
constexpr Duration kProofLimit = std::chrono::seconds(30);
constexpr Duration kStartLimit = std::chrono::seconds(120);
constexpr Duration kRecoveryLimit = std::chrono::seconds(60);

std::string describe(const Step& step) {
  auto out = step.kind + " " + step.target;
  for (const auto& [key, value] : step.parameters) {
    if (key != "verify") out += " " + std::string(key) + "=" + boost::json::serialize(value);
  }
  return out;
}

/// Which faults the step takes back.
bool is_relief_of(const std::string& relief, const std::string& fault) {
  if (relief == "continue") return fault == "stop";
  if (relief == "start") return fault == "kill" || fault == "terminate" || fault == "die";
  if (relief == "link_heal") return fault.starts_with("link_");
  if (relief == "heal") return fault == "partition";
  if (relief == "unfreeze") return fault == "freeze";
  if (relief == "unwedge") return fault == "wedge";
  return relief == "clear";
}

}  // namespace

double Faults::ms_since_start() const {
  return millis(net::now() - at_.began);
}

net::Task<void> Faults::pause() {
  co_await net::sleep_until(at_.core, net::now() + kPoll);
}

net::Task<void> Faults::run() {
  last_step_ = at_.began;
  for (const auto& step : at_.scenario.steps) {
    const bool is_due = co_await wait_for(step.at);
    if (is_stopped_) break;
    const auto* kind = find_step_kind(step.kind);
    FaultResult result;
    result.name = describe(step);
    result.kind = step.kind;
    result.target = step.target;
    result.at_ms = ms_since_start();
    strikes_.push_back({step.kind, step.target, net::now()});
    Outcome outcome;
    if (!is_due) {
      outcome.evidence = "its moment (" + step.at.text + ") did not come within 60 s";
    } else {
      outcome = co_await perform(step);
    }
    result.verified = outcome.ok;
    result.evidence = outcome.evidence;
    last_step_ = net::now();
    if (kind->target != TargetKind::kGroup) damaged_at_ = last_step_;
    at_.say(result.name + ": " + outcome.evidence);
    if (!kind->is_relief) {
      results_.push_back(std::move(result));
    } else if (!outcome.ok) {
      problems_.push_back(result.name + ": " + outcome.evidence);
    } else {
      note_relief(step);
    }
  }
  at_.load.faults_are_over();
  if (!is_stopped_ && damaged_at_) co_await measure_recovery();
  is_over_ = true;
}

void Faults::note_relief(const Step& step) {
  for (auto& fault : results_) {
    if (fault.target == step.target && !fault.until_ms && is_relief_of(step.kind, fault.kind))
      fault.until_ms = ms_since_start();
  }
}

// Whole again: every engine that runs is ready in the eyes of every frontend.
net::Task<void> Faults::measure_recovery() {
  const Instant from = *damaged_at_;  // clients that begin or leave damage nothing
  const bool is_asked = at_.scenario.checks.times.contains("recovery");
  const Instant limit = net::now() + kRecoveryLimit;
  while (!is_stopped_ && net::now() < limit) {
    if (!is_asked && at_.load.is_over()) co_return;  // some are never whole again
    std::int64_t wanted = 0;
    for (auto& engine : at_.fleet.engines()) {
      const char state = engine.process ? engine.process->state() : 'S';
      wanted += state != 0 && state != 'T' ? 1 : 0;
    }
    const auto ready = co_await at_.fleet.ready_workers();
    if (!ready) co_return;  // nobody to ask
    if (*ready == wanted) {
      recovery_ms_ = millis(net::now() - from);
      co_return;
    }
    co_await pause();
  }
}

net::Task<bool> Faults::wait_for(Trigger trigger) {
  const Instant limit = net::now() + std::max(kTriggerLimit, trigger.time + kTriggerLimit);
  while (!is_stopped_) {
    const bool is_now = co_await holds(trigger);
    if (is_now) co_return true;
    if (net::now() >= limit) co_return false;
    co_await pause();
  }
  co_return false;
}

net::Task<bool> Faults::holds(const Trigger& trigger) {
  using enum Trigger::Kind;
  switch (trigger.kind) {
    case kTime: co_return net::now() - at_.began >= trigger.time;
    case kAfter: co_return net::now() - last_step_ >= trigger.time;
    case kTokens: co_return at_.load.all_have(static_cast<std::size_t>(trigger.count));
    case kDone: co_return at_.load.is_over();
    case kRenewed: co_return at_.load.have_ended(last_step_);
    case kReady: {
      const auto ready = co_await at_.fleet.ready_workers();
      co_return ready == trigger.count;
    }
    case kRunning: {
      double running = 0;
      for (const auto& [name, value] : co_await at_.fleet.metrics()) {
        if (name.starts_with("holdfast_requests_running")) running += value;
      }
      co_return static_cast<std::int64_t>(running) >= trigger.count;
    }
    case kIdle:
    case kBusy: {
      auto* engine = at_.fleet.engine(trigger.target);
      if (engine == nullptr) co_return false;
      const auto stats = co_await at_.fleet.stats(*engine);
      co_return stats && (stats->running + stats->waiting > 0) == (trigger.kind == kBusy);
    }
    case kGone: {
      auto* process = at_.fleet.process(trigger.target);
      const bool is_gone = process != nullptr && !process->is_running();
      if (auto* engine = at_.fleet.engine(trigger.target); is_gone && engine != nullptr)
        engine->was_struck = true;
      co_return is_gone;
    }
  }
  co_return false;
}

net::Task<Faults::Outcome> Faults::perform(const Step& step) {
  using enum TargetKind;
  Outcome out;
  switch (find_step_kind(step.kind)->target) {
    case kProcess: out = co_await on_process(step); break;
    case kFrontend: out = co_await clock_jump(step); break;
    case kEngine:
      if (step.kind == "partition" || step.kind == "heal") {
        out = co_await on_network(step);
      } else {
        out = co_await on_engine(step);
      }
      break;
    case kLink: out = co_await on_link(step); break;
    case kGroup: out = co_await on_clients(step); break;
    case kCommand: out = co_await run_command(step); break;
  }
  co_return out;
}

net::Task<Faults::Outcome> Faults::on_process(const Step& step) {
  auto* process = at_.fleet.process(step.target);
  if (process == nullptr) co_return Outcome{false, "the run did not start it; use `run: COMMAND`"};
  auto* engine = at_.fleet.engine(step.target);
  auto* frontend = at_.fleet.frontend(step.target);
  const auto name = "process " + std::to_string(process->pid());
  if (step.kind == "start") {
    const bool is_gone = co_await Process::ended(at_.core, *process, net::now() + kProofLimit);
    if (!is_gone) co_return Outcome{false, name + " still runs"};
    const auto started = co_await at_.fleet.start_again(step.target, net::now() + kStartLimit);
    if (!started) co_return Outcome{false, started.error().detail};
    co_return Outcome{
        true, "process " + std::to_string(at_.fleet.process(step.target)->pid()) + " answers"};
  }
  if (step.kind == "continue") {
    const bool is_sent = process->signal(SIGCONT);
    co_return Outcome{is_sent, is_sent ? name + " goes on" : name + " is gone"};
  }
  if (!process->is_running())
    co_return Outcome{false, name + " had ended: " + process->how_ended()};
  if (engine != nullptr) engine->was_struck = true;
  if (frontend != nullptr && step.kind != "stop") frontend->may_end = true;
  Outcome out;
  if (step.kind == "stop") {
    out = co_await stop_process(*process);
  } else if (step.kind == "terminate") {
    out = co_await terminate(step, *process);
  } else {
    process->signal(SIGKILL);
    const bool is_gone = co_await Process::ended(at_.core, *process, net::now() + kProofLimit);
    out = {is_gone && process->exit_status() == -SIGKILL, name + " " + process->how_ended()};
  }
  co_return out;
}

net::Task<Faults::Outcome> Faults::stop_process(Process& process) {
  process.signal(SIGSTOP);
  const Instant limit = net::now() + kProofLimit;
  char state = process.state();
  while (state != 'T' && net::now() < limit) {
    co_await pause();
    state = process.state();
  }
  co_return Outcome{state == 'T', "process " + std::to_string(process.pid()) + " is in state " +
                                      std::string(1, state == 0 ? 'X' : state)};
}

// Proved by its end, or by a /ready that says that it is ending.
net::Task<Faults::Outcome> Faults::terminate(const Step& step, Process& process) {
  process.signal(SIGTERM);
  const auto* frontend = at_.fleet.frontend(step.target);
  const Instant limit = net::now() + kProofLimit;
  const auto name = "process " + std::to_string(process.pid());
  while (net::now() < limit && !is_stopped_) {
    if (!process.is_running()) co_return Outcome{true, name + " " + process.how_ended()};
    if (frontend != nullptr && frontend->system) {
      const auto ready = co_await at_.fleet.ask(*frontend->system, "GET", "/ready");
      if (ready && ready->status == 503) co_return Outcome{true, name + " drains: /ready is 503"};
    }
    co_await pause();
  }
  co_return Outcome{false, name + " neither ends nor drains"};
}

net::Task<Faults::Outcome> Faults::on_link(const Step& step) {
  auto* engine = at_.fleet.engine(step.target);
  if (engine == nullptr || !engine->link) co_return Outcome{false, "there is no link"};
  const auto number = [&step](const char* key, std::int64_t otherwise) {
    const auto* value = step.parameters.if_contains(key);
    return value != nullptr && value->is_int64() ? value->get_int64() : otherwise;
  };
  const auto before = engine->link->counters();
  LinkFault fault;
  if (step.kind == "link_delay") fault.delay = std::chrono::milliseconds(number("ms", 100));
  if (step.kind == "link_bandwidth") fault.bytes_per_s = number("bytes_per_s", 10'000);
  if (step.kind == "link_stall") fault.is_stalled = true;
  if (step.kind == "link_cut" || step.kind == "link_reset") {
    fault.end_after_bytes = number("after_bytes", 0);
    fault.is_reset = step.kind == "link_reset";
  }
  engine->link->set(fault);
  if (step.kind == "link_heal") co_return Outcome{true, "the link is as it was"};
  const Instant limit = net::now() + kProofLimit;
  const bool ends = fault.end_after_bytes >= 0;
  while (net::now() < limit && !is_stopped_) {
    const auto& now = engine->link->counters();
    const auto met = ends ? now.ended - before.ended : now.held - before.held;
    if (met > 0)
      co_return Outcome{true, std::to_string(met) + (ends ? " connections ended" : " reads held") +
                                  ", " + std::to_string(now.open) + " open, " +
                                  std::to_string(now.bytes_down - before.bytes_down) +
                                  " bytes since"};
    co_await pause();
  }
  co_return Outcome{false, "no byte came by that it could act on"};
}

net::Task<Faults::Outcome> Faults::on_network(const Step& step) {
  auto* engine = at_.fleet.engine(step.target);
  if (step.kind == "heal") {
    const auto healed = co_await network_.heal();
    co_return Outcome{healed.has_value(), healed ? "packets pass" : healed.error().detail};
  }
  engine->was_struck = true;
  const auto cut = co_await network_.cut(engine->endpoint.port);
  if (!cut) co_return Outcome{false, cut.error().detail};
  const Instant limit = net::now() + kProofLimit;
  std::optional<std::uint64_t> dropped;
  while (net::now() < limit && !is_stopped_ && !(dropped && *dropped > 0)) {
    co_await pause();
    dropped = co_await network_.dropped();
  }
  const bool ok = dropped && *dropped > 0;
  co_return Outcome{ok, ok ? "nftables dropped " + std::to_string(*dropped) + " packets"
                           : "nftables dropped no packet"};
}

net::Task<std::int64_t> Faults::engines_run() {
  std::int64_t sum = 0;
  for (auto& engine : at_.fleet.engines()) {
    if (!engine.process || engine.process->state() == 'T' || !engine.process->is_running())
      continue;
    const auto stats = co_await at_.fleet.stats(engine);
    if (stats) sum += stats->running + stats->waiting;
  }
  co_return sum;
}

net::Task<Faults::Outcome> Faults::on_clients(const Step& step) {
  if (step.kind == "load") {
    at_.load.begin(step.target);
    co_return Outcome{true, "its clients begin"};
  }
  if (step.kind == "cancel") {
    auto cancelled = co_await cancel(step);
    co_return cancelled;
  }
  const auto* clients = step.parameters.if_contains("clients");
  const auto most = clients != nullptr && clients->is_int64() ? clients->get_int64() : 0;
  const auto before = co_await engines_run();
  const auto leaving = at_.load.running_of(step.target, static_cast<std::size_t>(most));
  const Instant from = net::now();
  for (const auto& client : leaving) client->leave();
  const auto left = static_cast<std::int64_t>(leaving.size());
  const auto goal = std::max<std::int64_t>(before - left, 0);
  auto running = before;
  while (before > goal && net::now() - from < kProofLimit && !is_stopped_) {
    running = co_await engines_run();
    if (running <= goal) break;
    co_await pause();
  }
  const double took = millis(net::now() - from);
  told_ms_ = std::max(told_ms_.value_or(0), took);
  co_return Outcome{left > 0, std::to_string(left) + " clients left; engines ran " +
                                  std::to_string(before) + " requests, after " +
                                  std::to_string(static_cast<int>(took)) + " ms " +
                                  std::to_string(running)};
}

net::Task<Faults::Outcome> Faults::cancel(const Step& step) {
  const auto* mode_value = step.parameters.if_contains("mode");
  const std::string mode = mode_value != nullptr && mode_value->is_string()
                               ? std::string(mode_value->get_string())
                               : "stop";
  const auto* clients = step.parameters.if_contains("clients");
  const auto most = clients != nullptr && clients->is_int64() ? clients->get_int64() : 0;
  std::size_t done = 0;
  std::string last = "no client runs";
  for (const auto& client : at_.load.running_of(step.target, static_cast<std::size_t>(most))) {
    for (auto& frontend : at_.fleet.frontends()) {
      if (!frontend.admin) continue;
      client->transcript().cancelled = mode;  // the answer may be there before the call returns
      const auto target = "/v1/requests/" + client->call().request_id + "/cancel?mode=" + mode;
      const auto answer = co_await at_.fleet.ask(*frontend.admin, "POST", target);
      const bool ok = answer && answer->status == 200;
      if (ok) ++done;
      if (!ok) client->transcript().cancelled.clear();
      if (!ok) last = answer ? "status " + std::to_string(answer->status) : answer.error().detail;
      if (ok) break;
    }
  }
  co_return Outcome{done > 0, done > 0 ? std::to_string(done) + " requests were cancelled" : last};
}

}  // namespace hf::chaos
