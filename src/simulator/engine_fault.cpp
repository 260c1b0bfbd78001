#include "simulator/engine_fault.hpp"

#include <array>
#include <utility>

#include "simulator/request_json.hpp"

namespace hf::simulator {
namespace {

constexpr std::array<std::pair<std::string_view, FaultKind>, 14> kKinds = {{
    {"freeze", FaultKind::kFreeze},
    {"unfreeze", FaultKind::kUnfreeze},
    {"pause", FaultKind::kPause},
    {"slow", FaultKind::kSlow},
    {"wedge", FaultKind::kWedge},
    {"unwedge", FaultKind::kUnwedge},
    {"die", FaultKind::kDie},
    {"abort", FaultKind::kAbort},
    {"early_end", FaultKind::kEarlyEnd},
    {"half_event", FaultKind::kHalfEvent},
    {"reset_streams", FaultKind::kResetStreams},
    {"drop_ids", FaultKind::kDropIds},
    {"status", FaultKind::kStatus},
    {"clear", FaultKind::kClear},
}};

constexpr std::array<std::pair<std::string_view, Death>, 4> kDeaths = {{
    {"sigkill", Death::kSigkill},
    {"exit", Death::kExit},
    {"vllm", Death::kVllm},
    {"llama", Death::kLlama},
}};

// Looks `name` up in a list of names; false if it is not there.
template <class List, class Value>
bool named(const List& list, std::string_view name, Value& value) {
  for (const auto& [each, found] : list) {
    if (each != name) continue;
    value = found;
    return true;
  }
  return false;
}

}  // namespace

Result<Fault> parse_fault(std::string_view body) {
  const auto object = parse_object(body);
  if (!object) return fail(Code::kBadInput, "the body is not a JSON object");
  Fault fault;
  const std::string kind = json_text(*object, "kind", "");
  if (!named(kKinds, kind, fault.kind)) {
    return fail(Code::kBadInput, "unknown kind of fault \"" + kind + "\"");
  }
  const std::string how = json_text(*object, "how", "sigkill");
  if (!named(kDeaths, how, fault.how)) {
    return fail(Code::kBadInput, "unknown way to die \"" + how + "\"");
  }
  constexpr std::int64_t kDayMs = 86'400'000;
  const std::int64_t ms = json_int(*object, "ms", 0);
  if (ms < 0 || ms > kDayMs) return fail(Code::kBadInput, "ms must be 0 to a day");
  if (fault.kind == FaultKind::kPause && ms == 0) return fail(Code::kBadInput, "pause needs ms");
  fault.time = std::chrono::milliseconds(ms);
  fault.factor = json_number(*object, "factor", 1);
  if (!(fault.factor >= 0.001 && fault.factor <= 1e6)) {
    return fail(Code::kBadInput, "factor must be 0.001 to 1,000,000");
  }
  fault.after_tokens = json_int(*object, "after_tokens", 0);
  fault.every = json_int(*object, "every", 0);
  fault.code = static_cast<int>(json_int(*object, "code", 503));
  fault.retry_after_s = json_int(*object, "retry_after", -1);
  fault.count = json_int(*object, "count", 1);
  if (fault.after_tokens < 0 || fault.every < 0 || fault.count < 0) {
    return fail(Code::kBadInput, "numbers must not be negative");
  }
  if (fault.code < 400 || fault.code > 599) return fail(Code::kBadInput, "code must be 400 to 599");
  return fault;
}

}  // namespace hf::simulator
