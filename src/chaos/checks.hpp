// What a scenario says must hold, held against what was seen.
#pragma once

#include "chaos/assess.hpp"

namespace hf::chaos {

/// Fills checks and verdict. A check that only says that streams were struck (`orphans: >= N`,
/// `hit`) makes the run void where it does not hold, every other one makes it fail.
void judge_run(const Scenario& scenario, const Evidence& evidence, ChaosResult& result);

}  // namespace hf::chaos
