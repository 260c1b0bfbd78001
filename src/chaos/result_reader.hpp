// Reads what to_json() wrote: a result file of this or an older build.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "chaos/result.hpp"

namespace hf::chaos {

/// Unknown members are ignored, absent ones are as in a fresh ChaosResult. Errors (kBadInput): no
/// JSON, no result file (no `scenario` or `verdict`), another version; the detail says which.
Result<ChaosResult> from_json(std::string_view text);

}  // namespace hf::chaos
