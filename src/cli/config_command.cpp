#include "cli/config_command.hpp"

#include <cstdio>
#include <memory>

#include "cli/config_flags.hpp"

namespace hf::cli {
namespace {

constexpr const char* kExamples = R"(
Examples:
  holdfast config check --config holdfast.yaml
  holdfast config check --engine http://127.0.0.1:8081 --admission-hold 2m

Exit status: 0 when `serve` would start with it, 2 with one line a problem otherwise.)";

int check(const ConfigFlags& flags) {
  const auto sources = read_sources(flags);
  if (!sources) {
    std::fprintf(stderr, "holdfast config check: %s\n", sources.error().detail.c_str());
    return 2;
  }
  const auto loaded = config::load(*sources);
  if (loaded.ok()) std::fputs(config::describe(loaded).c_str(), stdout);
  print_findings(loaded, "config check");
  return loaded.ok() ? 0 : 2;
}

}  // namespace

void add_config_command(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ConfigFlags>();
  auto* config = app.add_subcommand("config", "what `serve` is told, checked without serving");
  config->require_subcommand(1);
  auto* check_command = config->add_subcommand(
      "check", "print every key of `serve` with its value and where that comes from");
  check_command->footer(kExamples);
  add_config_flags(*check_command, *flags);
  check_command->callback([flags, &exit_code] { exit_code = check(*flags); });
}

}  // namespace hf::cli
