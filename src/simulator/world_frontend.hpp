// One `serve` process of the simulated world: the control part (worker machines, probes, views) and
// its data cores, each with requests of its own. It does what the production driver does, no more.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/worker_machine.hpp"
#include "routing/policy.hpp"
#include "simulator/world_engine.hpp"

namespace hf::simulator {

class Frontend;
class ClientRun;

/// What all parts of a world share.
struct Commons {
  explicit Commons(std::uint64_t seed) : schedule(seed) {}
  Schedule schedule;
  std::vector<std::unique_ptr<EngineProcess>> engines;
  std::function<void(std::string)> violation;
  std::function<void(const std::string&)> trace;            // empty: not wanted
  std::size_t is_protected = static_cast<std::size_t>(-1);  // an engine that no fault meets
};

/// A data core: what core::CoreContext points to, and its open requests in the order of arrival.
struct DataCore {
  Frontend* frontend = nullptr;
  std::shared_ptr<const core::FleetView> view;
  Instant view_at{};
  std::unique_ptr<core::Router> router;
  core::RetryBudget retries{0.2, 10};
  core::HedgeBudget hedges;
  Random random{0};
  core::CoreContext context;
  std::vector<ClientRun*> open;
  // For the oracle.
  std::uint64_t retries_due = 0;  // that must have been charged to the budget
  std::int64_t resume_prefill_max = 0;
};

class Frontend {
 public:
  Frontend(Commons& commons, std::size_t index, std::size_t cores, std::uint64_t seed);
  ~Frontend();
  Frontend(const Frontend&) = delete;
  Frontend& operator=(const Frontend&) = delete;

  void start();
  /// Runs now, or when the process goes on.
  void run(std::function<void()> what);
  /// SIGSTOP for that long.
  void pause(Duration how_long);
  /// Discovery loses a worker (npos: all of them) for that long.
  void lose(std::size_t engine, Duration how_long);
  /// It was listed without a break since then.
  Instant listed_since(std::size_t engine) const;
  /// A driver tells control how an attempt ended.
  void attempt_failed(std::size_t engine, core::Reason reason);
  void attempt_succeeded(std::size_t engine);

  DataCore& core(std::size_t index) { return *cores_[index]; }
  std::size_t core_count() const { return cores_.size(); }
  bool is_paused() const { return commons_.schedule.now() < paused_until_; }
  const core::WorkerMachine& worker(std::size_t index) const { return workers_[index]->machine; }
  /// At the end: everything given back?
  void check_released();
  /// Now and then: what answers is used again.
  void check_workers() const;
  bool was_paused() const { return paused_until_ != Instant{}; }
  void stop() { stopped_ = true; }

 private:
  struct Worker {
    Worker(std::shared_ptr<core::WorkerCells> its_cells, std::uint64_t seed)
        : cells(its_cells), machine(std::move(its_cells), seed) {}
    std::shared_ptr<core::WorkerCells> cells;
    core::WorkerMachine machine;
    core::WorkerStatus known;  // what identification found
    std::uint64_t probe = 0;   // number of the last one
    bool probe_open = false;
    std::uint64_t identification = 0;
    bool identifying = false;
    int absent = 0;  // discovery lost it, so many times over
    Instant listed_since{};
    int good_while_ejected = 0;  // probes in a row
  };

  void apply(std::size_t index, core::WorkerMachine::Wish wish);
  void send_probe(std::size_t index);
  void probe_ended(std::size_t index, std::uint64_t number, core::ProbeResult result);
  void identify(std::size_t index);
  void identified(std::size_t index, std::uint64_t number, bool ok);
  void publish();
  void control_tick();
  void data_tick();
  void resume_process();
  bool may_eject() const;
  bool is_last(std::size_t index) const;
  void compare_pace();

  Commons& commons_;
  std::size_t index_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<DataCore>> cores_;
  std::vector<std::function<void()>> backlog_;
  Instant paused_until_{};
  Duration paused_for_{};
  std::uint64_t version_ = 0;
  std::uint64_t control_ticks_ = 0;
  core::AdmissionQueue admission_;
  bool stopped_ = false;
};

}  // namespace hf::simulator
