#include "chaos/step_kinds.hpp"

#include <algorithm>

namespace hf::chaos {

std::span<const StepKind> step_kinds() {
  using enum TargetKind;
  static const std::vector<StepKind> kinds{
      {"kill", kProcess, {}},
      {"stop", kProcess, {}},
      {"terminate", kProcess, {}},
      {"continue", kProcess, {}, true},
      {"start", kProcess, {}, true},
      // POST /sim/fault of the simulated engine: docs/simulated-engine.md.
      {"freeze", kEngine, {"ms"}},
      {"pause", kEngine, {"ms"}},
      {"slow", kEngine, {"factor"}},
      {"wedge", kEngine, {}},
      {"die", kEngine, {"how", "after_tokens"}},
      {"abort", kEngine, {}},
      {"early_end", kEngine, {}},
      {"half_event", kEngine, {}},
      {"reset_streams", kEngine, {}},
      {"drop_ids", kEngine, {"every"}},
      {"status", kEngine, {"code", "retry_after", "count"}},
      {"unfreeze", kEngine, {}, true},
      {"unwedge", kEngine, {}, true},
      {"clear", kEngine, {}, true},
      {"link_delay", kLink, {"ms"}},
      {"link_bandwidth", kLink, {"bytes_per_s"}},
      {"link_cut", kLink, {"after_bytes"}},
      {"link_reset", kLink, {"after_bytes"}},
      {"link_stall", kLink, {}},
      {"link_heal", kLink, {}, true},
      {"partition", kEngine, {}},
      {"heal", kEngine, {}, true},
      {"clock_jump", kFrontend, {"by_s"}},
      {"leave", kGroup, {"clients"}},
      {"cancel", kGroup, {"mode", "clients"}},
      {"load", kGroup, {}, true},
      {"run", kCommand, {"verify"}},
  };
  return kinds;
}

const StepKind* find_step_kind(std::string_view name) {
  const auto kinds = step_kinds();
  const auto it = std::ranges::find(kinds, name, &StepKind::name);
  return it == kinds.end() ? nullptr : &*it;
}

}  // namespace hf::chaos
