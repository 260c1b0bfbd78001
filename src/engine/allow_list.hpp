// Which fields of a request can be entered again on an engine's token endpoint: one row a field.
//
// A field that is in no row is unknown and forbids mode `tokens`. The table in docs/ is printed
// from these rows, and a test walks them.
#pragma once

#include <span>
#include <string_view>

#include "engine/dialect.hpp"

namespace hf::engine {

/// The values with which a field does not forbid mode `tokens`.
enum class Allowed : std::uint8_t {
  kAny,
  kOff,          // null, false, 0, "", [], {}
  kNull,         // null or false: here 0 would ask for something
  kOne,          // null, 1
  kTrue,         // null, true
  kNone,         // null, "none"
  kText,         // null, {"type":"text"}
  kNotPositive,  // null, a number <= 0
};

/// What becomes of it on a resume.
enum class OnResume : std::uint8_t {
  kCopy,     // goes along as the client wrote it
  kRestate,  // said anew: prompt, limits, stream, stop …
  kLeave,    // not sent: it asks for nothing, or only the prompt or our own answer needs it
};

enum class Where : std::uint8_t { kBoth, kChat, kCompletions };

struct FieldRule {
  std::string_view name;
  Allowed allowed;
  OnResume on_resume;
  Where where = Where::kBoth;
};

/// The rows of an engine. Those of kOpenAi, which has no token endpoint, are for mode `text`.
std::span<const FieldRule> field_rules(Kind kind);

/// The row of a field, or nullptr.
const FieldRule* find_rule(Kind kind, core::Endpoint endpoint, std::string_view name);

bool is_allowed(Allowed allowed, const ClientRequest& request, const Field& field);

}  // namespace hf::engine
