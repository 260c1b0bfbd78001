#include "chaos/scenario_parts.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include "chaos/step_kinds.hpp"

namespace hf::chaos {
namespace {

namespace json = boost::json;
using config::Node;
using config::Problems;

/// YAML to JSON: what reads as a JSON number or word is one, everything else is a text.
json::value to_json_value(const Node& node) {
  if (node.kind == Node::Kind::kList) {
    json::array out;
    for (const auto& item : node.items) out.push_back(to_json_value(item));
    return out;
  }
  if (node.kind == Node::Kind::kMap) {
    json::object out;
    for (const auto& [key, value] : node.members) out[key] = to_json_value(value);
    return out;
  }
  if (node.text.empty()) return nullptr;
  boost::system::error_code error;
  auto value = json::parse(node.text, error);
  if (error || value.is_string()) return json::value(node.text);
  return value;
}

void read_rate(MapReader& reader, LoadGroup& group) {
  if (const auto* node = reader.find("rate")) {
    const auto text = config::trimmed(node->text);
    const auto number = config::parse_number(text.substr(0, text.find('/')));
    if (!number || *number <= 0 || *number > 10'000) {
      reader.bad(*node, "rate", "must be requests a second, as `50/s`");
    } else {
      group.rate = *number;
    }
  }
  reader.duration("for", group.duration);
  if (group.rate && group.duration <= Duration::zero())
    reader.problem(reader.map(), "needs `for: DURATION` beside `rate`");
}

void read_requests(MapReader& reader, LoadGroup& group) {
  const auto* node = reader.find("requests");
  if (node == nullptr) return;
  if (node->text == "until faults end") {
    group.requests = 0;
    return;
  }
  const auto count = config::parse_count(node->text);
  if (!count || *count < 1 || *count > 100'000)
    return reader.bad(*node, "requests", "must be a number from 1 on, or `until faults end`");
  group.requests = static_cast<std::size_t>(*count);
}

double percent(MapReader& reader, const std::string& key, double otherwise) {
  const auto* node = reader.find(key);
  if (node == nullptr) return otherwise;
  const auto text = config::trimmed(node->text);
  const auto number = config::parse_number(config::trimmed(text.substr(0, text.find('%'))));
  if (number && *number >= 0 && *number <= 100) return *number;
  reader.bad(*node, key, "must be a percentage, as `80%`");
  return otherwise;
}

/// The one key of a step that says what it does.
const config::Member* action_of(const Node& step, Problems& problems) {
  const config::Member* found = nullptr;
  std::vector<std::string> names;
  for (const auto& kind : step_kinds()) names.emplace_back(kind.name);
  for (const auto& member : step.members) {
    if (find_step_kind(member.key) == nullptr) continue;
    if (found != nullptr) {
      problems.add(step.line, "faults: a step does one thing: " + found->key + " or " + member.key);
      return nullptr;
    }
    found = &member;
  }
  if (found != nullptr) return found;
  for (const auto& member : step.members) {
    if (member.key == "at") continue;
    const auto near = config::nearest(member.key, names);
    problems.add(member.node.line, "faults: unknown action " + member.key +
                                       (near.empty() ? "" : "; the nearest is " + near));
    return nullptr;
  }
  problems.add(step.line, "faults: a step needs an action, as `kill: engine-1`");
  return nullptr;
}

void read_step(const Node& node, std::vector<Step>& steps, Problems& problems) {
  const auto* action = action_of(node, problems);
  if (action == nullptr) return;
  MapReader reader(node, "faults", problems);
  const auto* kind = find_step_kind(action->key);
  reader.find(action->key);
  Step step;
  step.line = node.line;
  step.kind = action->key;
  std::string at = "+0s";
  reader.text("at", at);
  if (auto trigger = parse_trigger(at)) {
    step.at = *trigger;
  } else {
    reader.bad(node, "at", trigger.error().detail);
  }
  for (const auto parameter : kind->parameters) {
    if (const auto* value = reader.find(std::string(parameter)))
      step.parameters[parameter] = to_json_value(*value);
  }
  reader.finish();
  std::vector<std::string> targets;
  if (kind->target == TargetKind::kCommand) {
    targets = {action->node.text};
  } else if (!config::read_words(action->node, targets) || targets.empty()) {
    return reader.bad(node, action->key, "needs a target");
  }
  for (const auto& target : targets) {
    step.target = target;
    steps.push_back(step);
    step.at = Trigger{.kind = Trigger::Kind::kAfter, .target = {}, .text = "+0s"};
  }
}

using BoundMap = std::map<std::string, Bound>;

void read_bound(MapReader& reader, const std::string& key, Unit unit, Bound::Op otherwise,
                std::optional<Bound>& into) {
  const auto* node = reader.find(key);
  if (node == nullptr) return;
  auto bound = parse_bound(node->text, unit, otherwise);
  if (!bound) return reader.bad(*node, key, bound.error().detail);
  into = std::move(*bound);
}

void read_bound_map(MapReader& reader, const std::string& key, BoundMap& into) {
  const auto* map = reader.find(key);
  if (map == nullptr) return;
  if (map->kind != Node::Kind::kMap) return reader.bad(*map, key, "must be a map");
  for (const auto& [name, node] : map->members) {
    auto bound = parse_bound(node.text, Unit::kCount, Bound::Op::kEqual);
    if (!bound) {
      reader.bad(node, std::string(key).append(".").append(name), bound.error().detail);
    } else {
      into[name] = std::move(*bound);
    }
  }
}

void read_exits(MapReader& reader, std::map<std::string, std::int64_t>& into) {
  const auto* map = reader.find("exits");
  if (map == nullptr) return;
  for (const auto& [name, node] : map->members) {
    const auto status = config::parse_number(node.text);
    if (!status) {
      reader.bad(node, "exits." + name, "must be an exit status; -9: ended by signal 9");
    } else {
      into[name] = static_cast<std::int64_t>(*status);
    }
  }
}

}  // namespace

LoadGroup read_group(const std::string& name, const Node& node, Problems& problems) {
  MapReader reader(node, "load." + name, problems);
  LoadGroup group;
  group.name = name;
  reader.one_of("endpoint", group.endpoint, {"completions", "chat", "both"});
  reader.count("clients", group.clients, 1, 10'000);
  read_requests(reader, group);
  read_rate(reader, group);
  group.streamed = percent(reader, "streamed", 100);
  reader.count("max_tokens", group.max_tokens, 1, 1'000'000);
  reader.count("prompt_words", group.prompt_words, 1, 100'000);
  reader.count("prompts", group.prompts, 1, 1'000'000);
  reader.text("prompt", group.prompt);
  reader.flag("variety", group.variety);
  reader.flag("sessions", group.sessions);
  reader.text("expect", group.expect);
  if (const auto* read = reader.find("read")) {
    const auto text = config::trimmed(read->text);
    const auto size = config::parse_size(text.substr(0, text.find('/')));
    if (!size || *size < 1) {
      reader.bad(*read, "read", "must be bytes a second, as `1000/s`");
    } else {
      group.read_bytes_per_s = static_cast<double>(*size);
    }
  }
  if (const auto* body = reader.find("body")) {
    if (body->kind == Node::Kind::kMap) {
      group.body = to_json_value(*body).as_object();
    } else {
      reader.bad(*body, "body", "must be a map of fields");
    }
  }
  reader.finish();
  return group;
}

std::vector<Step> read_steps(const Node& node, Problems& problems) {
  std::vector<Step> steps;
  if (node.kind != Node::Kind::kList) {
    problems.add(node.line, "faults must be a list of steps");
    return steps;
  }
  for (const auto& item : node.items) read_step(item, steps, problems);
  return steps;
}

Checks read_checks(const Node& node, Problems& problems) {
  MapReader reader(node, "checks", problems);
  Checks checks;
  std::optional<Bound> complete;
  read_bound(reader, "complete", Unit::kPercent, Bound::Op::kAtLeast, complete);
  if (complete) checks.complete = *complete;
  read_bound(reader, "orphans", Unit::kCount, Bound::Op::kEqual, checks.orphans);
  read_bound(reader, "sheds", Unit::kCount, Bound::Op::kEqual, checks.sheds);
  read_bound(reader, "hit", Unit::kCount, Bound::Op::kAtLeast, checks.hit);
  read_bound(reader, "engines_alive", Unit::kCount, Bound::Op::kEqual, checks.engines_alive);
  reader.duration("hit_gap", checks.hit_gap);
  for (const char* name : {"modes", "reasons"}) {
    std::vector<std::string> words;
    reader.words(name, words);
    if (!words.empty()) (std::string_view(name) == "modes" ? checks.modes : checks.reasons) = words;
  }
  for (const char* what : {"pause", "ttft", "itl"}) {
    for (const char* at : {"p50", "p90", "p99", "max"}) {
      std::optional<Bound> bound;
      const auto key = std::string(what) + "_" + at;
      read_bound(reader, key, Unit::kMillis, Bound::Op::kAtMost, bound);
      if (bound) checks.times[key] = *bound;
    }
  }
  for (const char* key : {"recovery", "told", "pause_min"}) {
    std::optional<Bound> bound;
    read_bound(reader, key, Unit::kMillis, key[0] == 'p' ? Bound::Op::kAtLeast : Bound::Op::kAtMost,
               bound);
    if (bound) checks.times[key] = *bound;
  }
  read_bound_map(reader, "errors", checks.errors);
  read_bound_map(reader, "metrics", checks.metrics);
  read_exits(reader, checks.exits);
  reader.flag("sessions_stay", checks.sessions);
  reader.finish();
  return checks;
}

}  // namespace hf::chaos
