#include "simulator/world.hpp"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>

#include "core/transitions.hpp"
#include "simulator/world_plan.hpp"

namespace hf::simulator {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t kViolationsMax = 20;
constexpr std::size_t kTraceMax = 20'000;
/// From the last arrival on: no request may take longer.
constexpr Duration kPatience = seconds(240);

class World {
 public:
  World(std::uint64_t seed, const WorldOptions& options, WorldDraw draw)
      : draw_(std::move(draw)), commons_(mix64(seed ^ 0x5eed)) {
    result_.seed = seed;
    commons_.violation = [this](std::string text) { violation(std::move(text)); };
    if (options.trace) commons_.trace = [this](const std::string& line) { trace(line); };
    commons_.is_protected = draw_.is_protected;
    begun_ = commons_.schedule.now();
    for (std::size_t i = 0; i < draw_.engines.size(); ++i) {
      commons_.engines.push_back(
          std::make_unique<EngineProcess>(commons_.schedule, draw_.engines[i], i,
                                          [this](const std::string& line) { trace(line); }));
    }
    for (std::size_t i = 0; i < draw_.frontends; ++i) {
      frontends_.push_back(
          std::make_unique<Frontend>(commons_, i, draw_.cores, mix64(seed + i + 1)));
    }
    tracing_ = options.trace;
  }

  SimResult run() {
    start();
    while (!over_ && commons_.schedule.run_next()) {
    }
    check_end();
    return std::move(result_);
  }

 private:
  void start() {
    auto& schedule = commons_.schedule;
    for (std::size_t i = 0; i < commons_.engines.size(); ++i) trace(describe(i));
    for (auto& frontend : frontends_) frontend->start();
    for (auto& request : draw_.requests) {
      auto& frontend = *frontends_[schedule.random().below(frontends_.size())];
      auto& core = frontend.core(schedule.random().below(frontend.core_count()));
      last_arrival_ = std::max(last_arrival_, request.arrives);
      const auto arrives = request.arrives;
      // Some have no session; the others are a handful of users.
      if (request.number % 4 != 0) request.spec.session = mix64(request.number % 5);
      if (request.dropped) continue;
      runs_.push_back(
          std::make_unique<ClientRun>(commons_, core, std::move(request), draw_.migration));
      schedule.after(arrives, [run = runs_.back().get(), &frontend] {
        frontend.run([run] { run->start(); });
      });
    }
    for (const auto& fault : draw_.faults) {
      if (fault.dropped || fault.engine == draw_.is_protected) continue;
      schedule.after(fault.at, [this, fault] {
        commons_.engines[fault.engine]->apply(fault.fault, fault.how_long);
      });
    }
    for (const auto& pause : draw_.pauses) {
      if (pause.dropped) continue;
      ++result_.faults;
      schedule.after(pause.at, [this, pause] {
        trace("frontend " + std::to_string(pause.frontend) + " stops");
        frontends_[pause.frontend]->pause(pause.how_long);
      });
    }
    for (const auto& loss : draw_.losses) {
      if (loss.dropped) continue;
      ++result_.faults;
      schedule.after(loss.at, [this, loss] {
        trace("frontend " + std::to_string(loss.frontend) + " loses " +
              (loss.engine < commons_.engines.size() ? "worker " + std::to_string(loss.engine)
                                                     : std::string("all workers")));
        frontends_[loss.frontend]->lose(loss.engine, loss.how_long);
      });
    }
    watch();
  }

  std::string describe(std::size_t index) const {
    const auto& traits = commons_.engines[index]->traits();
    const auto& options = traits.options;
    return "engine " + std::to_string(index) + ": " +
           (options.dialect == Dialect::kVllm ? "vllm" : "llama") + " slots " +
           std::to_string(options.slots) + " itl_ms " + std::to_string(millis(options.itl)) +
           " prefill " + std::to_string(options.prefill_tokens_per_s) + " length " +
           std::to_string(options.model_len) + " variant " + std::to_string(options.variant) +
           " build " + std::to_string(traits.build) + (traits.refuses_ids ? " refuses_ids" : "") +
           (traits.unauthorized ? " unauthorized" : "") +
           (index == commons_.is_protected ? " protected" : "");
  }

  // Over when every request is, and what they left behind had the time to go.
  void watch() {
    const bool done = std::ranges::all_of(runs_, [](const auto& run) { return run->is_done(); });
    for (const auto& frontend : frontends_) frontend->check_workers();
    for (std::size_t i = 0; i < commons_.engines.size(); ++i) {
      if (commons_.engines[i]->writes_for_nobody())
        violation("engine " + std::to_string(i) + " writes for nobody");
    }
    const bool late = commons_.schedule.now() > begun_ + last_arrival_ + kPatience;
    if (done || late) {
      commons_.schedule.after(seconds(1), [this] { over_ = true; });
      return;
    }
    commons_.schedule.after(milliseconds(200), [this] { watch(); });
  }

  void check_end() {
    for (auto& run : runs_) {
      run->check_end();
      count(*run);
    }
    result_.workers = commons_.engines.size();
    for (const auto& engine : commons_.engines) result_.faults += engine->faults();
    for (auto& frontend : frontends_) {
      frontend->check_released();
      check_verdicts(*frontend);
    }
    for (std::size_t i = 0; i < commons_.engines.size(); ++i) {
      const auto& engine = *commons_.engines[i];
      if (engine.is_up() && !engine.is_frozen() && engine.sequences() != 0) {
        violation("engine " + std::to_string(i) + " still generates for nobody");
      }
    }
    check_waste();
    for (const auto* table : core::transition_tables()) {
      for (const auto& edge : table->illegal())
        violation(std::string(table->machine()) + " changes " + edge);
    }
    result_.virtual_seconds = seconds_since_begin();
  }

  void check_verdicts(const Frontend& frontend) {
    for (std::size_t i = 0; i < commons_.engines.size(); ++i) {
      const auto deaths = frontend.worker(i).deaths();
      result_.worker_deaths += deaths;
      if (deaths > 0 && !commons_.engines[i]->was_ever_away()) {
        violation("worker " + std::to_string(i) + " was called dead, its process never was");
      }
    }
  }

  void count(const ClientRun& run) {
    if (!run.has_started()) return;
    const auto& client = run.transcript();
    const auto& record = run.machine().record();
    ++result_.requests;
    if (run.is_gone()) {
      ++result_.clients_gone;
    } else if (run.was_cancelled()) {
      ++result_.cancelled[client.error.empty() ? "stopped" : "killed"];
    } else if (client.error.empty()) {
      ++result_.completed;
      result_.tokens.push_back(run.machine().completion_tokens());
    } else {
      ++result_.errors[client.error];
    }
    if (record.migrations.empty() && client.terminals > 0) ++result_.untouched;
    result_.hedges_won += record.hedges_won;
    for (const auto& migration : record.migrations) {
      if (migration.ok) ++result_.migrations[std::string(core::to_string(migration.mode))];
    }
    delivered_ +=
        static_cast<std::uint64_t>(std::max<std::int64_t>(0, run.machine().completion_tokens()));
    const auto extra = record.attempts > 1 ? record.attempts - 1 : 0;
    lost_attempts_ +=
        extra + (run.is_gone() || run.was_cancelled() || !client.error.empty() ? 1 : 0);
    const bool is_slow_link = run.draw().link.has_value();
    if (run.was_paused() || !run.draw().spec.stream || run.draw().opaque || is_slow_link)
      allowance_ += 400;
  }

  // What engines made and no client got: some tokens in flight for each attempt that was lost.
  void check_waste() {
    std::uint64_t generated = 0;
    for (const auto& engine : commons_.engines) generated += engine->generated_tokens();
    const bool paused = std::ranges::any_of(
        frontends_, [](const auto& frontend) { return frontend->was_paused(); });
    // What is cut off hears of no cancel.
    const bool cut_off = std::ranges::any_of(
        commons_.engines, [](const auto& engine) { return engine->was_cut_off(); });
    allowance_ += paused || cut_off ? 400 * result_.requests : 0;
    const auto bound = delivered_ * 105 / 100 + 60 * lost_attempts_ + allowance_ + 100;
    if (generated > bound) {
      violation("engines made " + std::to_string(generated) + " tokens, clients got " +
                std::to_string(delivered_) + " (" + std::to_string(lost_attempts_) +
                " attempts lost)");
    }
  }

  double seconds_since_begin() const { return hf::seconds(commons_.schedule.now() - begun_); }

  void violation(std::string text) {
    trace("VIOLATION " + text);
    if (result_.violations.size() < kViolationsMax) result_.violations.push_back(std::move(text));
    if (result_.violations.size() == kViolationsMax) over_ = true;  // it is lost
  }

  void trace(const std::string& line) {
    if (!tracing_) return;
    char stamp[32];
    std::snprintf(stamp, sizeof stamp, "%11.6f ", seconds_since_begin());
    result_.trace.push_back(stamp + line);
    if (result_.trace.size() > kTraceMax) {
      result_.trace.erase(result_.trace.begin(), result_.trace.begin() + kTraceMax / 2);
    }
  }

  WorldDraw draw_;
  Commons commons_;
  std::vector<std::unique_ptr<Frontend>> frontends_;
  std::vector<std::unique_ptr<ClientRun>> runs_;
  SimResult result_;
  Instant begun_{};
  Duration last_arrival_{};
  std::uint64_t delivered_ = 0, lost_attempts_ = 0, allowance_ = 0;
  bool tracing_ = false;
  bool over_ = false;
};

}  // namespace

SimResult run_world(std::uint64_t seed, const WorldOptions& options) {
  WorldDraw draw;
  bool is_known = true;
  if (options.scenario.empty()) {
    draw = draw_world(seed);
    if (!options.narrow) widen(seed, draw);
  } else if (options.second.empty()) {
    is_known = draw_scenario(seed, options.scenario, draw);
  } else {
    is_known = draw_pair(seed, options.scenario, options.second, options.phase, draw);
  }
  if (!is_known) {
    SimResult result;
    result.seed = seed;
    result.violations.push_back("no scenario or phase is called " + options.scenario + " " +
                                options.second + " " + options.phase);
    return result;
  }
  auto parts = parts_of(draw);
  if (options.keep) keep_only(draw, *options.keep);
  // Left as it is afterwards: worlds of other threads have the same.
  core::planted_mistake.store(options.planted, std::memory_order_relaxed);
  auto result = World(seed, options, std::move(draw)).run();
  result.parts = std::move(parts);
  return result;
}

}  // namespace hf::simulator
