#include "cli/chaos_command.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "chaos/process.hpp"
#include "chaos/scenario.hpp"
#include "chaos/session.hpp"
#include "cli/version.hpp"

namespace hf::cli {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  holdfast chaos list\n"
    "  holdfast chaos run chaos/worker_kill.yaml\n"
    "  holdfast chaos run chaos --long --out build/chaos\n"
    "  holdfast chaos run my_fleet.yaml --repeat 20\n"
    "Exit status: 0 pass, 1 fail, 2 a bad file, 3 void (a fault did not take effect).\n";

int list(const std::vector<std::string>& paths) {
  const auto files = chaos::scenario_files(paths);
  if (!files) {
    std::fprintf(stderr, "holdfast chaos: %s\n", files.error().detail.c_str());
    return 2;
  }
  int status = 0;
  for (const auto& file : *files) {
    const auto scenario = chaos::parse_scenario(chaos::read_file(file), file, true);
    if (scenario) {
      std::printf("%-28s %s\n", file.c_str(), scenario->title.c_str());
    } else {
      std::fprintf(stderr, "%s\n", scenario.error().detail.c_str());
      status = 2;
    }
  }
  return status;
}

void add_run(CLI::App& chaos, int& exit_code) {
  auto options = std::make_shared<chaos::SessionOptions>();
  options->commit = commit();
  auto* run = chaos.add_subcommand("run", "Runs scenarios, each in processes of its own");
  run->add_option("file", options->paths, "scenario files, or folders of them")->required();
  run->add_option("--out", options->out, "folder for results (JSON, JUnit) and logs");
  run->add_flag("--long", options->is_long, "the long form, not what the file says under `quick`");
  run->add_option("--seed", options->seed, "of the prompts")->capture_default_str();
  run->add_option("--repeat", options->repeat, "times that each is run")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  run->add_option("--jobs", options->jobs, "scenarios at a time")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  run->footer(kExamples);
  run->callback([options, &exit_code] { exit_code = chaos::run_session(*options); });
}

}  // namespace

void add_chaos_command(CLI::App& app, int& exit_code) {
  CLI::App* chaos = app.add_subcommand(
      "chaos", "Fault tests on real processes: what broke, and what every client saw");
  chaos->require_subcommand(1);
  chaos->footer(kExamples);
  add_run(*chaos, exit_code);
  auto paths = std::make_shared<std::vector<std::string>>();
  paths->push_back("chaos");
  auto* all = chaos->add_subcommand("list", "Names scenarios and what they try");
  all->add_option("file", *paths, "scenario files, or folders of them")->capture_default_str();
  all->callback([paths, &exit_code] { exit_code = list(*paths); });
}

}  // namespace hf::cli
