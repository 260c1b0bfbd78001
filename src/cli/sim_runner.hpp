// Many simulated worlds: how many, in how many threads, for how long; what broke, and its shortest
// trace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "simulator/world.hpp"

namespace hf::cli {

struct SimFlags {
  std::uint64_t seeds = 100;
  std::optional<std::uint64_t> from;
  std::optional<std::uint64_t> seed;
  double minutes = 0;
  unsigned jobs = 1;
  bool pairs = false;
  bool counts = false;
  bool edges = false;
  std::string plant;
  std::vector<std::string> keep;
  simulator::WorldOptions world;
};

/// Runs them and prints; the exit code of the program: 1 if a rule was broken, or with `edges` a
/// change of state that no machine made; 2 for a name that nothing has.
int run_simulations(SimFlags flags);

}  // namespace hf::cli
