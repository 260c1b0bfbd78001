// The fleet: runs the worker machines on the control core, probes engines, publishes views.
//
// report() and succeeded() may be called from any core; everything else belongs to the control
// core.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/fleet.hpp"
#include "core/worker_machine.hpp"
#include "engine/probe.hpp"
#include "engine/whole_body.hpp"
#include "frontend/options.hpp"
#include "http/fetch.hpp"
#include "http/pool.hpp"
#include "net/core.hpp"
#include "net/ticker.hpp"
#include "telemetry/metrics.hpp"

namespace hf::frontend {

/// What a driver needs to talk to a worker and the machines do not.
struct EngineFacts {
  http::Endpoint endpoint;
  engine::Kind kind = engine::Kind::kOpenAi;
  std::string fingerprint;  // raw JSON, of the engine's build
  std::string taken_for;    // what it was taken for and what that means for a failure
  /// By endpoint: how its whole bodies look; null where that is not known.
  std::array<std::shared_ptr<const engine::WholeTemplate>, 2> whole;
  std::string authorization;  // "Bearer KEY"; empty: it has no key. A secret
};

/// One published state; immutable.
struct FleetSnapshot {
  core::FleetView view;
  std::vector<EngineFacts> facts;  // by worker index
  Instant at{};
};

class Fleet {
 public:
  using Publish = std::function<void(std::shared_ptr<const FleetSnapshot>)>;

  /// `publish` is called on the control core with every new snapshot. Does nothing before start().
  Fleet(net::Core& core, std::shared_ptr<const ServeOptions> options,
        telemetry::ServeMetrics& metrics, Publish publish);

  /// The snapshot before anything was probed: for the data cores' start.
  std::shared_ptr<const FleetSnapshot> snapshot() const { return snapshot_; }
  void start();
  void stop();
  /// Options that were reloaded. A new engine joins; one that is no longer listed gets no new work
  /// while its streams go on, and is the same worker again if it comes back.
  void apply(std::shared_ptr<const ServeOptions> options);

  /// An attempt on a worker failed / succeeded. Any thread.
  void report(std::size_t worker, core::Reason reason);
  void succeeded(std::size_t worker);

 private:
  struct Worker {
    http::Endpoint endpoint;
    std::string name;
    std::shared_ptr<core::WorkerCells> cells;
    std::unique_ptr<core::WorkerMachine> machine;
    engine::EngineInfo info;
    std::array<std::shared_ptr<const engine::WholeTemplate>, 2> whole;
    std::string authorization;  // as in EngineFacts
    bool has_info = false;
    Instant models_read_at{};
    bool removed = false;
    bool forgotten = false;  // its series are gone
    Instant removed_at{};
    Instant load_read_at{};
    bool reading_load = false;
  };

  void add_worker(const EngineOptions& engine);
  http::FetchRequest probe_request(const Worker& worker) const;
  bool is_idle(const Worker& worker) const;
  void tend_removed(Instant now);
  core::WorkerState state_of(const Worker& worker) const;

  void tick(Instant now, Duration lag);
  void carry_out(std::size_t index, const core::WorkerMachine::Wish& wish);
  void allow_ejection(std::size_t index);
  void renew();
  void log_change(const Worker& worker, core::WorkerState state);
  net::Task<void> probe(std::size_t index);
  net::Task<void> identify(std::size_t index);
  net::Task<Result<engine::EngineInfo>> ask_who(std::size_t index);
  net::Task<void> read_models(std::size_t index);
  static void learn_whole(Worker& worker);
  net::Task<void> read_load(std::size_t index);
  bool serve_same(const Worker& a, const Worker& b) const;
  void compare_pace(Instant now);
  std::string taken_for(const Worker& worker) const;

  net::Core& core_;
  std::shared_ptr<const ServeOptions> options_;
  telemetry::ServeMetrics& metrics_;
  Publish publish_;
  http::Pool pool_;
  std::deque<Worker> workers_;  // by index; only ever grows
  std::shared_ptr<const FleetSnapshot> snapshot_;
  std::uint64_t version_ = 0;
  std::unique_ptr<net::Ticker> ticker_;
  Instant compared_at_{};
};

}  // namespace hf::frontend
