#include "chaos/scenario.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <filesystem>
#include <ranges>

#include "chaos/map_reader.hpp"
#include "chaos/scenario_parts.hpp"
#include "chaos/step_kinds.hpp"

namespace hf::chaos {
namespace {

using config::Member;
using config::Node;
using config::Problems;

/// `over` wins; maps are merged, everything else is replaced.
void lay_over(Node& base, const Node& over) {
  if (base.kind != Node::Kind::kMap || over.kind != Node::Kind::kMap) {
    base = over;
    return;
  }
  for (const auto& [key, node] : over.members) {
    const auto it = std::ranges::find(base.members, key, &Member::key);
    if (it == base.members.end()) {
      base.members.push_back({key, node});
    } else {
      lay_over(it->node, node);
    }
  }
}

Node with_form(Node root, bool is_long) {
  const auto it = std::ranges::find(root.members, "quick", &Member::key);
  if (it == root.members.end()) return root;
  const Node quick = std::move(it->node);
  root.members.erase(it);
  if (!is_long) lay_over(root, quick);
  return root;
}

void read_engine_commands(MapReader& reader, EngineSpec& engine) {
  reader.words("command", engine.command);
  if (engine.kind == "llama.cpp" && engine.command.empty()) {
    engine.dialect = "llama.cpp";
    engine.command = {"/usr/bin/python3",
                      "tools/llama_engine.py",
                      "--slots",
                      "4",
                      "--ctx",
                      "4096",
                      "--threads",
                      "1",
                      "--port",
                      "{port}",
                      "--port-file",
                      "{port_file}"};
  }
}

void read_engines(const Node& node, Scenario& scenario, Problems& problems) {
  MapReader reader(node, "engines", problems);
  std::size_t count = 2;
  EngineSpec engine;
  std::vector<std::string> urls;
  reader.count("count", count, 1, 64);
  reader.one_of("kind", engine.kind, {"simulated", "llama.cpp", "command", "url"});
  reader.text("dialect", engine.dialect);
  reader.words("urls", urls);
  reader.text("reference", scenario.reference);
  reader.text("model", scenario.model);
  read_engine_commands(reader, engine);
  if (const auto* flags = reader.find("flags")) engine.flags = read_flags(*flags, reader, "flags");
  reader.finish();
  if (engine.kind == "url") count = urls.size();
  for (std::size_t i = 0; i < count; ++i) {
    engine.name = "engine-" + std::to_string(i + 1);
    if (engine.kind == "url") engine.url = urls[i];
    scenario.engines.push_back(engine);
  }
  if (engine.kind == "url" && urls.empty()) reader.problem(node, "needs `urls` with `kind: url`");
  if (engine.kind == "command" && engine.command.empty())
    reader.problem(node, "needs a `command` with `kind: command`");
}

void read_frontends(const Node& node, Scenario& scenario, Problems& problems) {
  MapReader reader(node, "frontends", problems);
  reader.count("count", scenario.frontends, 0, 16);
  reader.count("data_cores", scenario.data_cores, 1, 64);
  reader.words("urls", scenario.frontend_urls);
  reader.words("system_urls", scenario.system_urls);
  if (const auto* flags = reader.find("flags"))
    scenario.serve = read_flags(*flags, reader, "flags");
  reader.finish();
  if (!scenario.frontend_urls.empty()) scenario.frontends = scenario.frontend_urls.size();
}

void read_load(const Node& node, Scenario& scenario, Problems& problems) {
  if (node.kind != Node::Kind::kMap)
    return problems.add(node.line, "load must be a map from a group's name to its settings");
  for (const auto& [name, settings] : node.members)
    scenario.load.push_back(read_group(name, settings, problems));
}

bool knows(const Scenario& scenario, const StepKind& kind, const std::string& target) {
  const auto is_numbered = [&](std::string_view prefix, std::size_t count) {
    for (std::size_t i = 1; i <= count; ++i)
      if (target == std::string(prefix) + std::to_string(i)) return true;
    return false;
  };
  switch (kind.target) {
    case TargetKind::kCommand: return true;
    case TargetKind::kGroup:
      return std::ranges::count(scenario.load, target, &LoadGroup::name) != 0;
    case TargetKind::kFrontend: return is_numbered("frontend-", scenario.frontends);
    case TargetKind::kProcess:
      return is_numbered("engine-", scenario.engines.size()) ||
             is_numbered("frontend-", scenario.frontends);
    case TargetKind::kEngine:
    case TargetKind::kLink: return is_numbered("engine-", scenario.engines.size());
  }
  return false;
}

void check_step(Scenario& scenario, const Step& step, Problems& problems) {
  const auto* kind = find_step_kind(step.kind);
  if (kind == nullptr) return;
  if (!knows(scenario, *kind, step.target))
    problems.add(step.line, "faults: " + step.kind + ": there is no '" + step.target +
                                "' (engines are engine-1…, frontends frontend-1…)");
  const bool is_sim =
      kind->target == TargetKind::kEngine && step.kind != "partition" && step.kind != "heal";
  if (is_sim && !scenario.is_simulated())
    problems.add(step.line, "faults: " + step.kind + " needs simulated engines");
  if (kind->target == TargetKind::kLink) scenario.links = true;
  if (step.kind == "partition") scenario.own_network = true;
  if (step.kind == "clock_jump") scenario.fake_clock = true;
  const auto group = std::ranges::find(scenario.load, step.target, &LoadGroup::name);
  if (step.kind == "load" && group != scenario.load.end()) group->begins_by_step = true;
}

void check_whole(Scenario& scenario, const Node& root, Problems& problems) {
  for (const auto& step : scenario.steps) check_step(scenario, step, problems);
  if (scenario.load.empty()) problems.add(root.line, "there is no load");
  if (scenario.engines.empty() && scenario.frontend_urls.empty())
    problems.add(root.line, "there are no engines");
  if (!scenario.frontend_urls.empty() && scenario.is_simulated() && !scenario.engines.empty())
    problems.add(root.line,
                 "frontends.urls: a running frontend has engines of its own; give "
                 "`engines: {kind: url, urls: […]}` or none");
  for (const auto& group : scenario.load) {
    const bool is_open_ended = group.requests == 0 || group.rate;
    if (!is_open_ended || scenario.is_simulated() || group.prompts != 0) continue;
    auto why = "load." + group.name;
    why += " needs `prompts: N`: the right answers are asked for before the first fault";
    problems.add(root.line, std::move(why));
  }
}

void read_root(const Node& root, Scenario& scenario, Problems& problems) {
  MapReader reader(root, "", problems);
  reader.text("title", scenario.title);
  reader.text("inside", scenario.inside);
  reader.duration("limit", scenario.limit);
  const Node none{Node::Kind::kMap, root.line, {}, {}, {}};
  const auto* engines = reader.find("engines");
  const auto* frontends = reader.find("frontends");
  const auto* load = reader.find("load");
  const auto* faults = reader.find("faults");
  const auto* checks = reader.find("checks");
  reader.finish();
  read_frontends(frontends == nullptr ? none : *frontends, scenario, problems);
  if (engines != nullptr || scenario.frontend_urls.empty())
    read_engines(engines == nullptr ? none : *engines, scenario, problems);
  if (load != nullptr) read_load(*load, scenario, problems);
  if (faults != nullptr) scenario.steps = read_steps(*faults, problems);
  if (checks != nullptr) scenario.checks = read_checks(*checks, problems);
  check_whole(scenario, root, problems);
}

}  // namespace

bool Scenario::is_simulated() const {
  return !engines.empty() && engines.front().kind == "simulated";
}

Flags read_flags(const Node& node, MapReader& reader, const std::string& key) {
  Flags out;
  if (node.kind != Node::Kind::kMap) reader.bad(node, key, "must be a map from flag to value");
  for (const auto& [name, value] : node.members) {
    if (value.kind != Node::Kind::kScalar)
      reader.bad(value, std::string(key).append(".").append(name), "must be one value");
    out.emplace_back(name, value.text);
  }
  return out;
}

Result<Scenario> parse_scenario(std::string_view text, std::string_view file, bool is_long) {
  const std::string in(file);
  auto root = config::parse_yaml(text);
  if (!root) return fail(Code::kBadInput, in + ": " + root.error().detail);
  Scenario scenario;
  scenario.file = in;
  scenario.name = std::filesystem::path(in).stem().string();
  scenario.form = is_long ? "long" : "quick";
  Problems problems;
  read_root(with_form(std::move(*root), is_long), scenario, problems);
  if (problems.empty()) return scenario;
  std::string all;
  for (const auto& problem : problems.list()) {
    if (!all.empty()) all += '\n';
    all.append(in).append(":").append(std::to_string(problem.line)).append(": ");
    all += problem.text;
  }
  return fail(Code::kBadInput, all);
}

}  // namespace hf::chaos
