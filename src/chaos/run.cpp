#include "chaos/run.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>

#include "chaos/assess.hpp"
#include "chaos/faults.hpp"
#include "chaos/fleet.hpp"
#include "chaos/load.hpp"
#include "net/clock.hpp"
#include "net/core.hpp"
#include "net/process_signals.hpp"
#include "net/signal.hpp"

namespace hf::chaos {
namespace {

constexpr Duration kPoll = std::chrono::milliseconds(5);
constexpr Duration kStartLimit = std::chrono::seconds(180);
constexpr Duration kSettleLimit = std::chrono::seconds(30);
constexpr Duration kReferenceLimit = std::chrono::seconds(180);
constexpr Duration kProgressEvery = std::chrono::seconds(2);
constexpr std::size_t kReferenceAtOnce = 64;
constexpr std::size_t kRealReferenceAtOnce = 4;

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

class Run {
 public:
  Run(net::Core& core, const Scenario& scenario, const RunOptions& options, ChaosResult& result)
      : core_(core),
        scenario_(scenario),
        options_(options),
        result_(result),
        signals_(core, {SIGINT, SIGTERM}),
        fleet_(core, scenario, options.directory),
        load_(core, scenario, options.seed) {}

  static net::Task<void> all(Run* self) {
    self->core_.spawn(self->watch_signals(), "signals");
    const Instant from = net::now();
    self->began_ = from;
    auto started = co_await self->fleet_.start(from + kStartLimit);
    if (started) {
      co_await self->measure();
    } else {
      self->evidence_.problems.push_back("cannot start: " + started.error().detail);
    }
    for (auto& engine : self->fleet_.engines())
      if (engine.process) self->evidence_.exits[engine.spec.name] = engine.process->exit_status();
    self->evidence_.ended_badly = co_await self->fleet_.end();
    for (auto& frontend : self->fleet_.frontends())
      if (frontend.process) self->evidence_.exits[frontend.name] = frontend.process->exit_status();
    self->conclude();
    self->is_over_ = true;
    self->signals_.cancel();
    while (self->is_watching_) co_await net::sleep_until(self->core_, net::now() + kPoll);
    self->core_.stop();
  }

 private:
  void say(const std::string& text) const {
    std::fprintf(stderr, "%-18s %6.1f s  %s\n", scenario_.name.c_str(),
                 seconds(net::now() - began_), text.c_str());
  }

  net::Task<void> watch_signals() {
    while (!is_over_) {
      const int number = co_await signals_.wait();
      if (number == 0) break;
      evidence_.problems.push_back("interrupted by signal " + std::to_string(number));
      is_interrupted_ = true;
    }
    is_watching_ = false;
  }

  net::Task<void> measure() {
    Reference reference(core_, *fleet_.oracle());
    load_.set_entries(fleet_.entries());
    const auto before = co_await fleet_.metrics();
    if (!scenario_.is_simulated()) {
      say("asking for the right answers");
      co_await reference.ask(load_.known_calls(), kRealReferenceAtOnce,
                             net::now() + kReferenceLimit);
    }
    result_.started_at = utc_now();
    began_ = net::now();
    Faults faults({.core = core_,
                   .scenario = scenario_,
                   .fleet = fleet_,
                   .load = load_,
                   .directory = options_.directory,
                   .began = began_,
                   .say = [this](const std::string& text) { say(text); }});
    load_.begin_all();
    core_.spawn(faults.run(), "faults");
    co_await until_over(faults);
    result_.duration_ms = millis(net::now() - began_);
    take_faults(faults);
    co_await settle();
    const auto after = co_await fleet_.metrics();
    for (const auto& [series, value] : after) {
      const auto it = before.find(series);
      evidence_.metrics[series] = value - (it == before.end() ? 0 : it->second);
    }
    co_await read_access_logs();
    if (scenario_.is_simulated() && !is_interrupted_) {
      std::vector<Call> calls;
      for (const auto& answer : load_.answers()) calls.push_back(answer.client->call());
      co_await reference.ask(std::move(calls), kReferenceAtOnce, net::now() + kReferenceLimit);
    }
    collect(reference);
  }

  net::Task<void> until_over(Faults& faults) {
    Instant next_line = net::now() + kProgressEvery;
    const Instant limit = began_ + scenario_.limit;
    while (!load_.is_over() || !faults.is_over()) {
      co_await net::sleep_until(core_, net::now() + kPoll);
      const Instant now = net::now();
      if (now >= limit || is_interrupted_) {
        load_.give_up("no end within the limit");
        faults.stop();
        if (now >= limit && !is_late_) {
          result_.log.push_back("the run did not end within its limit");
          is_late_ = true;
        }
      }
      if (now < next_line) continue;
      next_line = now + kProgressEvery;
      std::size_t ended = 0;
      std::size_t tokens = 0;
      for (const auto& answer : load_.answers()) {
        ended += answer.client->has_ended() ? 1 : 0;
        tokens += answer.client->transcript().ticks.size();
      }
      say(std::to_string(load_.answers().size()) + " requests, " + std::to_string(ended) +
          " ended, " + std::to_string(tokens) + " tokens");
    }
  }

  void take_faults(const Faults& faults) {
    result_.faults = faults.results();
    result_.figures.recovery_ms = faults.recovery_ms();
    evidence_.told_ms = faults.told_ms();
    evidence_.strikes = faults.strikes();
    evidence_.problems.insert(evidence_.problems.end(), faults.problems().begin(),
                              faults.problems().end());
  }

  /// What still runs in frontends and engines; empty: nothing.
  net::Task<std::string> still_running() {
    std::string out;
    const double running = sum_of(co_await fleet_.metrics(), "holdfast_requests_running");
    if (running != 0 && scenario_.frontend_urls.empty())
      out += std::to_string(static_cast<int>(running)) + " requests in the frontends ";
    for (auto& engine : fleet_.engines()) {
      if (!engine.process || !engine.process->is_running() || engine.process->state() == 'T')
        continue;
      const auto stats = co_await fleet_.stats(engine);
      if (stats && stats->running + stats->waiting > 0)
        out += std::to_string(stats->running + stats->waiting) + " requests in " +
               engine.spec.name + " ";
    }
    co_return out;
  }

  net::Task<void> settle() {
    const Instant limit = net::now() + kSettleLimit;
    do {
      evidence_.left_over = co_await still_running();
      if (evidence_.left_over.empty() || is_interrupted_) break;
      co_await net::sleep_until(core_, net::now() + kPoll);
    } while (net::now() < limit);
    evidence_.engines_alive = 0;
    for (auto& engine : fleet_.engines())
      *evidence_.engines_alive += engine.process && engine.process->is_running() ? 1 : 0;
  }

  // A line is written when its request has ended, by a thread of its own: it may come late.
  net::Task<void> read_access_logs() {
    const Instant limit = net::now() + kSettleLimit;
    bool is_all = false;
    while (!is_all && net::now() < limit && !is_interrupted_) {
      evidence_.access.clear();
      for (const auto& frontend : fleet_.frontends())
        if (!frontend.access_log.empty())
          evidence_.access.merge(parse_access_log(read_file(frontend.access_log)));
      if (fleet_.frontends().empty() || fleet_.frontends().front().access_log.empty()) break;
      is_all = std::ranges::all_of(load_.answers(), [this](const auto& answer) {
        return answer.client->transcript().request_id.empty() ||
               evidence_.access.contains(answer.client->call().request_id);
      });
      if (!is_all) co_await net::sleep_until(core_, net::now() + kPoll);
    }
  }

  void collect(const Reference& reference) {
    for (const auto& answer : load_.answers()) {
      const auto& client = *answer.client;
      // Copies: the reference lives no longer than this function's caller.
      wants_.push_back(std::make_unique<Transcript>(reference.answer_to(client.call())));
      evidence_.answers.push_back({.group = answer.group,
                                   .member = answer.member,
                                   .got = &client.transcript(),
                                   .want = wants_.back().get(),
                                   .path = client.call().path,
                                   .request_id = client.call().request_id,
                                   .stream = client.call().stream,
                                   .started_at = client.started_at(),
                                   .ended_at = client.ended_at()});
    }
  }

  void conclude() {
    evidence_.began = began_;
    evidence_.direct = scenario_.frontends == 0;
    for (const auto& engine : fleet_.engines()) {
      evidence_.addresses.push_back(engine.seen_as().to_string());
      evidence_.was_struck.push_back(engine.was_struck);
      result_.engines.push_back({engine.spec.name, engine.spec.dialect, engine.spec.kind});
    }
    for (const auto& frontend : fleet_.frontends()) result_.frontends.push_back(frontend.name);
    assess(scenario_, evidence_, result_);
  }

  net::Core& core_;
  const Scenario& scenario_;
  const RunOptions& options_;
  ChaosResult& result_;
  net::ProcessSignals signals_;
  Fleet fleet_;
  Load load_;
  Evidence evidence_;
  std::vector<std::unique_ptr<Transcript>> wants_;
  Instant began_{};
  bool is_interrupted_ = false;
  bool is_late_ = false;
  bool is_over_ = false;
  bool is_watching_ = true;
};

}  // namespace

ChaosResult run_scenario(const Scenario& scenario, const RunOptions& options) {
  net::ignore_sigpipe();
  ChaosResult result;
  result.scenario = scenario.name;
  result.file = scenario.file;
  result.title = scenario.title;
  result.inside = scenario.inside;
  result.form = scenario.form;
  result.seed = options.seed;
  result.commit = options.commit;
  result.data_cores = scenario.data_cores;
  result.started_at = utc_now();
  if (scenario.own_network) {
    if (const auto entered = enter_own_network(); !entered) {
      result.log.push_back(entered.error().detail);
      return result;  // void
    }
  }
  net::Core core("chaos");
  Run run(core, scenario, options, result);
  core.spawn(Run::all(&run), "run");
  core.run();
  return result;
}

}  // namespace hf::chaos
