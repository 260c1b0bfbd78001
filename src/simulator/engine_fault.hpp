// A fault as POST /sim/fault asks for it; engine_api.hpp lists the kinds.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"

namespace hf::simulator {

enum class FaultKind : std::uint8_t {
  kFreeze,
  kUnfreeze,
  kPause,
  kSlow,
  kWedge,
  kUnwedge,
  kDie,
  kAbort,
  kEarlyEnd,
  kHalfEvent,
  kResetStreams,
  kDropIds,
  kStatus,
  kClear,
};
enum class Death : std::uint8_t { kSigkill, kExit, kVllm, kLlama };

struct Fault {
  FaultKind kind = FaultKind::kClear;
  Duration time{};                // freeze (0: until unfreeze), pause
  double factor = 1;              // slow
  Death how = Death::kSigkill;    // die
  std::int64_t after_tokens = 0;  // die
  std::int64_t every = 0;         // drop_ids
  int code = 503;                 // status
  std::int64_t retry_after_s = -1;
  std::int64_t count = 1;
};

/// kBadInput: not JSON, unknown kind or way to die, a number out of its range.
Result<Fault> parse_fault(std::string_view body);

}  // namespace hf::simulator
