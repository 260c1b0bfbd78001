// What a step of a scenario can do, and which keys it takes: the table behind docs/chaos.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hf::chaos {

enum class TargetKind : std::uint8_t {
  kProcess,   // an engine or a frontend that the run started
  kEngine,    // a simulated engine
  kLink,      // the way to an engine
  kGroup,     // a group of the load
  kCommand,   // a command line of the user
  kFrontend,  // a frontend that the run started
};

struct StepKind {
  std::string_view name;
  TargetKind target;
  std::vector<std::string_view> parameters;
  /// Not a fault: nothing to verify, not shown as one (`load`, `continue`, `start`, …).
  bool is_relief = false;
};

std::span<const StepKind> step_kinds();
/// nullptr: no such kind.
const StepKind* find_step_kind(std::string_view name);

}  // namespace hf::chaos
