// What a request machine asks of routing. The policies are in src/routing.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "core/fleet.hpp"

namespace hf::core {

struct PickRequest {
  std::string_view model;
  std::span<const std::size_t> exclude;  // failed this request: only when nobody else is there;
                                         // in the order in which they did
  std::span<const std::size_t> never;    // not even then (e.g. the hedge's own owner)
  std::uint64_t tokens_identity = 0;     // not 0: only workers with these token ids
  std::uint64_t exact_identity = 0;      // not 0: preferred (or, with `strict`, required)
  bool strict_identity = false;
  bool continuation = false;        // paced by outstanding prefill
  bool suspect = false;             // one poison suspect a worker at a time
  std::int64_t prefill_tokens = 0;  // estimate of what it will have to compute
  std::int64_t length_min = 0;      // tokens that its prompt surely has: a worker whose model is
                                    // shorter is left out while some worker's is long enough
  std::uint64_t session = 0;        // hash of its session; 0: none
  Instant now{};
};

class Router {
 public:
  virtual ~Router() = default;
  /// The index of a ready worker, or nullopt when nobody may take it now.
  virtual std::optional<std::size_t> pick(const FleetView& view, const PickRequest& request) = 0;
};

}  // namespace hf::core
