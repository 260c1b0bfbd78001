// Carries out the steps of a scenario, and proves that each took effect.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "chaos/assess.hpp"
#include "chaos/fleet.hpp"
#include "chaos/load.hpp"
#include "chaos/network.hpp"
#include "chaos/result.hpp"
#include "chaos/scenario.hpp"
#include "net/core.hpp"

namespace hf::chaos {

/// Core thread only.
class Faults {
 public:
  struct Place {
    net::Core& core;
    const Scenario& scenario;
    Fleet& fleet;
    Load& load;
    std::string directory;
    Instant began;  // of the load
    std::function<void(const std::string&)> say;
  };

  explicit Faults(Place place) : at_(std::move(place)), network_(at_.core, at_.directory) {}

  /// All steps, one after the other, then waits until the fleet is whole again (recovery_ms()).
  net::Task<void> run();
  /// Ends run() soon.
  void stop() { is_stopped_ = true; }
  bool is_over() const { return is_over_; }

  const std::vector<FaultResult>& results() const { return results_; }
  /// A step that failed and is no fault ("start"): the run is void.
  const std::vector<std::string>& problems() const { return problems_; }
  std::optional<double> recovery_ms() const { return recovery_ms_; }
  /// The longest time until engines had dropped what clients had left.
  std::optional<double> told_ms() const { return told_ms_; }
  /// When each fault struck, by target.
  std::vector<Strike> strikes() const { return strikes_; }

 private:
  struct Outcome {
    bool ok = false;
    std::string evidence;
  };

  net::Task<bool> wait_for(Trigger trigger);
  net::Task<bool> holds(const Trigger& trigger);
  net::Task<Outcome> perform(const Step& step);
  net::Task<Outcome> on_process(const Step& step);
  net::Task<Outcome> stop_process(Process& process);
  net::Task<Outcome> terminate(const Step& step, Process& process);
  net::Task<Outcome> on_engine(const Step& step);
  net::Task<Outcome> prove_engine_fault(const Step& step, Engine& engine, double before);
  net::Task<Outcome> prove_silence(Engine& engine);
  net::Task<Outcome> prove_slow(Engine& engine, double before);
  net::Task<Outcome> prove_death(Engine& engine);
  net::Task<double> tokens_per_s(Engine& engine);
  net::Task<Outcome> on_link(const Step& step);
  net::Task<Outcome> on_network(const Step& step);
  net::Task<Outcome> clock_jump(const Step& step);
  net::Task<Outcome> on_clients(const Step& step);
  net::Task<Outcome> cancel(const Step& step);
  net::Task<Outcome> run_command(const Step& step);
  net::Task<std::int64_t> engines_run();
  net::Task<void> pause();
  net::Task<void> measure_recovery();
  void note_relief(const Step& step);
  double ms_since_start() const;

  Place at_;
  Network network_;
  std::vector<FaultResult> results_;
  std::vector<std::string> problems_;
  std::vector<Strike> strikes_;
  std::optional<double> recovery_ms_;
  std::optional<double> told_ms_;
  Instant last_step_{};
  std::optional<Instant> damaged_at_;  // or mended, by the last step that did either
  bool is_stopped_ = false;
  bool is_over_ = false;
};

}  // namespace hf::chaos
