// A whole fleet in one thread, from one seed: engines that crash, hang, wedge and refuse, frontends
// that run the same machines, worker watch and routing as production, clients that leave or do not
// read; and an oracle that compares every byte with what an untouched engine would have said.
//
// Virtual time jumps from event to event, so a minute of a fleet takes milliseconds. The same seed,
// options and build give the same run. Runs on the calling thread; worlds in different threads are
// independent as long as all of them have the same mistake planted.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/planted.hpp"

namespace hf::simulator {

struct WorldOptions {
  /// Empty: everything is drawn. Else one of scenario_names(). Unknown names are a violation.
  std::string scenario;
  /// With a scenario: what else happens, to a fifth of its streams when it is in that phase.
  std::string second;
  std::string phase;  // one of phase_names()
  bool trace = false;
  core::Planted planted = core::Planted::kNone;
  /// Without what was added later, so that a seed of old stays the world that it was.
  bool narrow = false;
  /// Only these parts of the world, by the names of SimResult::parts; unset: all.
  std::optional<std::vector<std::string>> keep;
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
  std::uint64_t workers = 0;
  std::uint64_t faults = 0;          // that met an engine or a frontend
  std::vector<std::int64_t> tokens;  // of each complete answer
  /// What may be left out of it: lN a bad link of a request, mN a loss of discovery, rN a request,
  /// tN its trap, bN what its client or the operator does to it, fN a fault, pN a pause of a
  /// frontend.
  std::vector<std::string> parts;
  double virtual_seconds = 0;
};

/// The failure scenarios of behaviour.md §14 that have a simulated twin.
std::vector<std::string_view> scenario_names();
/// queue, connect, prefill, first_token, middle, last_token, finish, recovery.
std::vector<std::string_view> phase_names();

/// Never fails; what went wrong is in `violations`.
SimResult run_world(std::uint64_t seed, const WorldOptions& options);

/// The fewest parts with which this seed still breaks a rule, as far as leaving out halves,
/// quarters … and single ones finds them. Deterministic; empty if nothing breaks.
std::vector<std::string> shrink_world(std::uint64_t seed, WorldOptions options);

}  // namespace hf::simulator
