// What is known of the workers: the one truth for liveness that routing, migration and /health
// read.
//
// The control core makes a new FleetView at every change and hands it to each data core; a view is
// never changed after that. The few figures that must be exact at once and across cores (running
// attempts, last progress) are WorkerCells, shared by all views of a worker.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "core/latency_window.hpp"
#include "core/types.hpp"

namespace hf::core {

/// Live figures of one worker. Relaxed atomics: each is a hint on its own, none guards another.
struct WorkerCells {
  std::atomic<std::int32_t> running{0};          // open attempts
  std::atomic<std::int32_t> reading{0};          // of these, not held back by a slow client
  std::atomic<std::int64_t> prefill_owed{0};     // prompt tokens placed there, first token not seen
  std::atomic<std::int64_t> resume_prefill{0};   // of these, placed by continuations (paced)
  std::atomic<std::int32_t> suspects{0};         // 1 while a poison suspect is being tried there
  std::atomic<std::int64_t> progress_ns{0};      // Instant of the last byte of any stream
  std::atomic<std::int64_t> prefill_rate{2000};  // tokens a second, smoothed
  std::atomic<bool> may_assemble{true};          // false: a stream of it was no plain text
  std::atomic<std::int64_t> engine_waiting{0};   // requests in the engine's own queue
  std::atomic<std::int64_t> engine_load_ns{0};   // Instant at which the engine said so; 0 never
  LatencyWindow itl;

  void progress(Instant now) {
    progress_ns.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
  Instant last_progress() const {
    return Instant(Duration(progress_ns.load(std::memory_order_relaxed)));
  }
  void set_engine_load(Instant now, std::int64_t waiting) {
    engine_waiting.store(waiting, std::memory_order_relaxed);
    engine_load_ns.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
  /// Until when the engine is known to have a queue; an old figure counts for nothing.
  Instant queue_known_until() const {
    if (engine_waiting.load(std::memory_order_relaxed) <= 0) return Instant{};
    return Instant(Duration(engine_load_ns.load(std::memory_order_relaxed))) + kLoadAgeMax;
  }
  static constexpr Duration kLoadAgeMax = std::chrono::seconds(5);
};

enum class WorkerState : std::uint8_t {
  kStarting,  // never identified yet: not used
  kReady,
  kSuspect,  // answers probes, yet no stream moves: no new work
  kSlow,     // much slower than its peers: no new work while another can, its streams move
  kEjected,  // the breaker is open: no new work until a probe succeeds after its time
  kDead,     // refuses or is silent: its streams move
  kRemoved,  // no longer one of ours: no new work, what runs goes on
};
std::string_view to_string(WorkerState state);
/// Is it there to be used, be it as the last resort?
constexpr bool takes_work(WorkerState state) {
  return state == WorkerState::kReady || state == WorkerState::kSlow;
}

struct ModelEntry {
  std::string name;
  std::int64_t max_len = 0;   // tokens; 0 unknown
  std::uint64_t adapter = 0;  // of an adapter: its identity beside that of the worker
};

/// One worker in a view. `index` is stable for the life of the process.
struct WorkerStatus {
  std::size_t index = 0;
  std::string name;  // "host:port" of a static engine
  WorkerState state = WorkerState::kStarting;
  int kind = 0;  // engine::Kind as a number: core does not know dialects
  std::vector<ModelEntry> models;
  std::uint64_t tokens_identity = 0;  // same ids for the probe text; 0 unknown
  std::uint64_t exact_identity = 0;   // same build, model and greedy probe; 0 unknown
  std::vector<TokenId> eos_ids;
  std::array<bool, 2> whole_known{};  // by endpoint: how its whole bodies look
  std::uint32_t deaths = 0;           // how often it was declared dead
  Instant alive_at{};                 // the last probe that it answered
  std::shared_ptr<WorkerCells> cells;

  const ModelEntry* model(std::string_view model_name) const;
  /// What exact_identity is for answers of that model; 0 unknown.
  std::uint64_t exact_for(std::string_view model_name) const;
};

struct FleetView {
  std::uint64_t version = 0;
  std::vector<WorkerStatus> workers;  // by index
  bool known_model(std::string_view model_name) const;
  /// True while some worker was never identified: a model may still turn up.
  bool starting() const;
};

}  // namespace hf::core
