#include "cli/config_flags.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "config/keys.hpp"

extern char** environ;  // NOLINT: POSIX has it in no header

namespace hf::cli {
namespace {

std::string help_of(const config::Field<frontend::ServeOptions>& key) {
  std::string help;
  for (const char c : key.help) {
    if (c != '`') help += c;  // Markdown
  }
  if (!key.has_effect) help += " (no effect yet)";
  return help + " [" + key.variable + "]";
}

std::map<std::string, std::string> environment() {
  std::map<std::string, std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const char* equals = std::strchr(*entry, '=');
    if (equals != nullptr)
      out.emplace(std::string(*entry, static_cast<std::size_t>(equals - *entry)), equals + 1);
  }
  return out;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ",") + word;
  return out;
}

}  // namespace

void add_config_flags(CLI::App& app, ConfigFlags& flags) {
  app.add_option("--config", flags.file, "YAML file with any of these settings [HOLDFAST_CONFIG]");
  const frontend::ServeOptions defaults;
  for (const auto& key : config::serve_keys()) {
    if (key.flag.empty()) continue;
    auto* option = app.add_option(key.flag, flags.values[key.name], help_of(key));
    // A switch alone means true. Engines may be repeated, or stand behind one flag.
    if (key.name == "engines") {
      option->take_all()->allow_extra_args(true);
    } else {
      option->expected(key.is_switch ? 0 : 1, 1)->take_last();
    }
    option->type_name(key.name == "engines" ? "URL" : key.type);
    // With a default, CLI11 would take that for a switch without a value.
    const auto value = key.show(defaults);
    if (!value.empty() && key.name != "engines" && !key.is_switch) option->default_str(value);
    flags.options.emplace_back(key.name, option);
  }
}

Result<config::Sources> read_sources(const ConfigFlags& flags) {
  config::Sources sources;
  sources.environment = environment();
  for (const auto& [name, option] : flags.options) {
    if (option->count() == 0) continue;
    const auto text = joined(option->results());
    sources.flags[name] = text.empty() && option->get_expected_min() == 0 ? "true" : text;
  }
  sources.file_name = flags.file;
  if (sources.file_name.empty()) sources.file_name = sources.environment["HOLDFAST_CONFIG"];
  if (sources.file_name.empty()) return sources;
  std::ifstream file(sources.file_name);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file || !text) {
    return fail(Code::kSystem, sources.file_name + ": cannot be read (" + std::strerror(errno) +
                                   "); check the path given with --config or HOLDFAST_CONFIG");
  }
  sources.file_text = text.str();
  return sources;
}

void print_findings(const config::Loaded& loaded, const char* command) {
  for (const auto& text : loaded.problems)
    std::fprintf(stderr, "holdfast %s: %s\n", command, text.c_str());
  for (const auto& text : loaded.warnings)
    std::fprintf(stderr, "holdfast %s: warning: %s\n", command, text.c_str());
}

}  // namespace hf::cli
