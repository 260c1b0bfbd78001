// A whole fleet in one thread, from one seed: engines that crash, hang, wedge and refuse, frontends
// that run the same machines, worker watch and routing as production, clients that leave or do not
// read; and an oracle that compares every byte with what an untouched engine would have said.
//
// Virtual time jumps from event to event, so a minute of a fleet takes milliseconds. The same seed,
// options and build give the same run. Runs on the calling thread; worlds in different threads are
// independent only while nothing is planted.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/planted.hpp"

namespace hf::simulator {

struct WorldOptions {
  /// Empty: everything is drawn. Else one of behaviour.md §14: worker_kill, worker_hang,
  /// engine_wedged, prefill_pauses, slow_reader, frontend_pause, resume_storm, poison_request,
  /// all_dead, client_gone. Unknown names are a violation.
  std::string scenario;
  bool trace = false;
  core::Planted planted = core::Planted::kNone;
};

struct SimResult {
  std::uint64_t seed = 0;
  std::uint64_t requests = 0;
  std::vector<std::string> violations;  // at most 20, each one line
  std::vector<std::string> trace;       // only with `trace`, at most the last 20,000 lines
  std::map<std::string, std::uint64_t> migrations;  // that went well, by mode
  std::map<std::string, std::uint64_t> errors;      // by code
  std::map<std::string, std::uint64_t> cancelled;   // stopped, killed
  std::uint64_t completed = 0;
  std::uint64_t clients_gone = 0;
  std::uint64_t hedges_won = 0;
  std::uint64_t worker_deaths = 0;  // declared by frontends
  std::uint64_t untouched = 0;      // ended without a migration
  double virtual_seconds = 0;
};

/// Never fails; what went wrong is in `violations`.
SimResult run_world(std::uint64_t seed, const WorldOptions& options);

}  // namespace hf::simulator
