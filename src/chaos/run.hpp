// One run of one scenario: start, load, faults, the right answers, verdict.
#pragma once

#include <cstdint>
#include <string>

#include "chaos/result.hpp"
#include "chaos/scenario.hpp"

namespace hf::chaos {

struct RunOptions {
  std::uint64_t seed = 1;
  std::string commit;
  std::string directory;  // for logs, port files and access logs; must exist
};

/// Runs it in this process, which must have no threads yet; SIGINT and SIGTERM end the run in
/// order. Progress goes to stderr. Everything it started has ended when it returns.
ChaosResult run_scenario(const Scenario& scenario, const RunOptions& options);

}  // namespace hf::chaos
