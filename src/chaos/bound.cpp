// The small languages of a scenario: limits (">= 40") and triggers ("5 tokens").
#include <array>

#include "chaos/scenario_parts.hpp"

namespace hf::chaos {
namespace {

struct Operator {
  std::string_view sign;
  Bound::Op op;
};
constexpr std::array kOperators = {Operator{">=", Bound::Op::kAtLeast},
                                   Operator{"<=", Bound::Op::kAtMost},
                                   Operator{"==", Bound::Op::kEqual}};

const char* sign_of(Bound::Op op) {
  return op == Bound::Op::kAtLeast ? ">= " : op == Bound::Op::kAtMost ? "<= " : "";
}

struct Word {
  std::string_view word;
  Trigger::Kind kind;
};
// "N word"
constexpr std::array kCounted = {Word{"tokens", Trigger::Kind::kTokens},
                                 Word{"ready", Trigger::Kind::kReady},
                                 Word{"running", Trigger::Kind::kRunning}};
// "NAME word"
constexpr std::array kNamed = {Word{"idle", Trigger::Kind::kIdle},
                               Word{"busy", Trigger::Kind::kBusy},
                               Word{"gone", Trigger::Kind::kGone}};

Result<Trigger> at_time(std::string_view text, Trigger trigger) {
  const bool is_after = text.starts_with('+');
  const auto time = config::parse_duration(is_after ? text.substr(1) : text);
  if (!time)
    return fail(Code::kBadInput,
                "'" + std::string(text) +
                    "' is no moment; write `5 tokens`, `2s`, `+3s`, `1 ready`, "
                    "`100 running`, `engine-1 idle`, `engine-1 gone`, `renewed` or `done`");
  trigger.kind = is_after ? Trigger::Kind::kAfter : Trigger::Kind::kTime;
  trigger.time = *time;
  return trigger;
}

}  // namespace

Result<Bound> parse_bound(std::string_view text, Unit unit, Bound::Op otherwise) {
  auto rest = config::trimmed(text);
  Bound bound;
  bound.op = otherwise;
  for (const auto& candidate : kOperators) {
    if (!rest.starts_with(candidate.sign)) continue;
    bound.op = candidate.op;
    rest = config::trimmed(rest.substr(candidate.sign.size()));
    break;
  }
  bound.text = sign_of(bound.op) + std::string(rest);
  if (unit == Unit::kMillis) {
    const auto time = config::parse_duration(rest);
    if (!time) return std::unexpected(time.error());
    bound.value = millis(*time);
    return bound;
  }
  if (unit == Unit::kPercent && rest.ends_with('%')) rest.remove_suffix(1);
  const auto number = config::parse_number(config::trimmed(rest));
  if (!number)
    return fail(Code::kBadInput, "'" + std::string(text) + "' is no limit; write `>= 40` or `0`");
  bound.value = *number;
  return bound;
}

Result<Trigger> parse_trigger(std::string_view given) {
  const auto text = config::trimmed(given);
  Trigger trigger;
  trigger.text = std::string(text);
  if (text == "done" || text == "renewed") {
    trigger.kind = text == "done" ? Trigger::Kind::kDone : Trigger::Kind::kRenewed;
    return trigger;
  }
  const auto space = text.find(' ');
  if (space == std::string_view::npos) return at_time(text, std::move(trigger));
  const auto first = text.substr(0, space);
  const auto second = config::trimmed(text.substr(space));
  for (const auto& [word, kind] : kCounted) {
    const auto count = config::parse_count(first);
    if (second != word || !count) continue;
    trigger.kind = kind;
    trigger.count = *count;
    return trigger;
  }
  for (const auto& [word, kind] : kNamed) {
    if (second != word) continue;
    trigger.kind = kind;
    trigger.target = std::string(first);
    return trigger;
  }
  return at_time(text, std::move(trigger));
}

}  // namespace hf::chaos
