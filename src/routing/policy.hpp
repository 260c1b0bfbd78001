// Who gets a request: filters that every policy shares, then the policy's own choice.
#pragma once

#include <memory>
#include <string_view>

#include "base/random.hpp"
#include "base/result.hpp"
#include "core/router.hpp"
#include "routing/session_table.hpp"

namespace hf::routing {

struct PolicyOptions {
  std::int64_t resume_prefill_tokens_max = 65'536;  // outstanding continuation prefill per worker
  std::uint64_t seed = 1;
  /// `session`: the same one for all cores; null: one of its own.
  std::shared_ptr<SessionPlaces> sessions = {};
};

/// `least-loaded`, `round-robin`, `p2c`, `random` or `session`; any other name is an error that
/// lists them. One instance a core; not thread-safe.
Result<std::unique_ptr<core::Router>> make_policy(std::string_view name, PolicyOptions options);

}  // namespace hf::routing
