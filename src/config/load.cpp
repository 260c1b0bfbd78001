#include "config/load.hpp"

#include <algorithm>
#include <tuple>

#include "config/keys.hpp"

namespace hf::config {
namespace {

using frontend::ServeOptions;
using Key = Field<ServeOptions>;

class Loader {
 public:
  explicit Loader(const Sources& sources) : sources_(sources), keys_(serve_keys()) {
    auto& options = out_.options;
    const auto kubernetes = sources.environment.contains("KUBERNETES_SERVICE_HOST");
    if (kubernetes) {
      options.canary.enabled = true;
      options.lame_duck = std::chrono::seconds(5);
    }
    for (const auto& key : keys_) {
      Setting setting;
      setting.name = key.name;
      setting.origin = kubernetes && (key.name == "canary.enabled" || key.name == "lame_duck")
                           ? "default in Kubernetes"
                           : "default";
      setting.is_secret = key.is_secret;
      setting.reloads = key.reloads;
      setting.has_effect = key.has_effect;
      out_.settings.push_back(std::move(setting));
    }
  }

  Loaded load() {
    read_file();
    for (std::size_t i = 0; i < keys_.size(); ++i) read_variables(i);
    for (std::size_t i = 0; i < keys_.size(); ++i) read_flag(i);
    check_whole();
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      auto& setting = out_.settings[i];
      setting.value = keys_[i].show(out_.options);
      if (!setting.is_default && !setting.has_effect)
        out_.warnings.push_back(setting.name + " has no effect yet");
    }
    warn_of_variables();
    return std::move(out_);
  }

 private:
  void read_file() {
    if (sources_.file_name.empty()) return;
    const auto root = parse_yaml(sources_.file_text);
    if (!root) {
      out_.problems.push_back(sources_.file_name + ": " + root.error().detail);
      return;
    }
    Problems problems;
    for (const auto& [index, node] : match(*root, names_of(keys_), "", problems)) {
      keys_[index].set(out_.options, *node, keys_[index].name, problems);
      came_from(index, sources_.file_name + ":" + std::to_string(node->line));
    }
    file_problems_ = problems.list();
    std::ranges::sort(file_problems_, {},
                      [](const auto& one) { return std::tie(one.line, one.text); });
  }

  /// Empty where it is not set, or not meant for us.
  std::string variable(const std::string& name) const {
    const auto it = sources_.environment.find(name);
    if (name.empty() || it == sources_.environment.end()) return {};
    return it->second.starts_with("tcp://") ? std::string() : it->second;
  }

  void read_variables(std::size_t index) {
    const auto& key = keys_[index];
    const auto ours = variable(key.variable);
    const auto theirs = variable(key.also);
    if (!theirs.empty()) set(index, theirs, key.also, "variable ");
    if (ours.empty()) return;
    const auto before = key.show(out_.options);
    set(index, ours, key.variable, "variable ");
    if (!theirs.empty() && key.show(out_.options) != before)
      out_.problems.push_back(key.variable + "=" + ours + " and " + key.also + "=" + theirs +
                              " differ; they mean the same, give one");
  }

  void read_flag(std::size_t index) {
    const auto it = sources_.flags.find(keys_[index].name);
    if (it != sources_.flags.end()) set(index, it->second, keys_[index].flag, "flag ");
  }

  void set(std::size_t index, const std::string& text, const std::string& place,
           const std::string& origin) {
    Problems problems;
    keys_[index].set(out_.options, Node::scalar(text), place, problems);
    for (const auto& problem : problems.list()) out_.problems.push_back(problem.text);
    came_from(index, origin + place);
  }

  void came_from(std::size_t index, std::string origin) {
    out_.settings[index].origin = std::move(origin);
    out_.settings[index].is_default = false;
  }

  void check_whole() {
    // Only now config.unknown is known.
    for (const auto& problem : file_problems_) {
      const auto text =
          sources_.file_name + ":" + std::to_string(problem.line) + ": " + problem.text;
      const bool warn = problem.is_unknown_key && out_.options.warn_of_unknown_keys;
      (warn ? out_.warnings : out_.problems).push_back(text);
    }
    if (out_.options.engines.empty() && out_.ok())
      out_.problems.emplace_back(
          "no engine; give --engine URL, HOLDFAST_ENGINE or engines: in the file");
  }

  /// A mistyped variable would be passed over in silence.
  void warn_of_variables() {
    std::vector<std::string> known;
    known.reserve(keys_.size());
    for (const auto& key : keys_) known.push_back(key.variable);
    for (const auto& [name, value] : sources_.environment) {
      if (!name.starts_with("HOLDFAST_") || std::ranges::find(known, name) != known.end()) continue;
      if (name == "HOLDFAST_CONFIG" || value.starts_with("tcp://")) continue;
      if (const auto near = nearest(name.substr(9), without_prefix(known)); !near.empty())
        out_.warnings.push_back(std::string("variable ")
                                    .append(name)
                                    .append(" is not known; the nearest is HOLDFAST_" + near));
    }
  }

  static std::vector<std::string> without_prefix(std::vector<std::string> names) {
    for (auto& name : names) name = name.starts_with("HOLDFAST_") ? name.substr(9) : name;
    return names;
  }

  const Sources& sources_;
  const std::vector<Key>& keys_;
  Loaded out_;
  std::vector<Problems::Problem> file_problems_;
};

std::string change_of(const Key& key, const ServeOptions& before, const ServeOptions& after) {
  if (key.is_secret) return key.name;
  return key.name + ": " + key.show(before) + " -> " + key.show(after);
}

}  // namespace

std::string Setting::printed() const {
  return is_secret ? (value.empty() ? "" : "(set)") : value;
}

Loaded load(const Sources& sources) {
  return Loader(sources).load();
}

std::string describe(const Loaded& loaded) {
  constexpr std::size_t kValueWidthMax = 40;
  std::size_t name_width = 0;
  std::size_t value_width = 0;
  for (const auto& setting : loaded.settings) {
    name_width = std::max(name_width, setting.name.size());
    value_width = std::max(value_width, std::min(setting.printed().size(), kValueWidthMax));
  }
  const auto padded = [](std::string text, std::size_t width) {
    text.resize(std::max(width, text.size()), ' ');
    return text;
  };
  std::string out;
  for (const auto& setting : loaded.settings) {
    const auto value = setting.printed();
    out += padded(setting.name, name_width) + "  " +
           padded(value.empty() ? "-" : value, value_width) + "  " + setting.origin;
    if (!setting.has_effect) out += " (no effect yet)";
    out += '\n';
  }
  return out;
}

frontend::Reloaded merge(const ServeOptions& running, const ServeOptions& fresh) {
  frontend::Reloaded out;
  out.options = running;
  for (const auto& key : serve_keys()) {
    if (key.show(running) == key.show(fresh)) continue;
    (key.reloads ? out.applied : out.needs_restart).push_back(change_of(key, running, fresh));
    if (key.reloads) key.copy(out.options, fresh);
  }
  return out;
}

}  // namespace hf::config
