#include "cli/sim_command.hpp"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/sim_runner.hpp"

namespace hf::cli {
namespace {

constexpr const char* kExamples =
    "Each seed is a whole fleet with its failures, in virtual time. Exit code 1 if a rule was "
    "broken.\n"
    "Examples:\n"
    "  holdfast sim --seeds 1000\n"
    "  holdfast sim --minutes 10 --jobs 4       # fresh seeds, in four threads\n"
    "  holdfast sim --seed 42 --trace           # replay one, with everything that happened\n"
    "  holdfast sim --scenario worker_kill --seeds 50 --counts\n"
    "  holdfast sim --seeds 1 --pairs           # each scenario during each, at each phase\n"
    "  holdfast sim --plant token_twice         # prove that a mistake is found\n";

std::vector<std::string> strings(const std::vector<std::string_view>& names) {
  return {names.begin(), names.end()};
}

}  // namespace

void add_sim_command(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<SimFlags>();
  auto* command = app.add_subcommand("sim", "Simulate fleets and their failures, from seeds");
  command->footer(kExamples);
  command->add_option("--seeds", flags->seeds, "how many")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  command->add_option("--from", flags->from, "the first seed (1; with --minutes: a fresh one)");
  command->add_option("--seed", flags->seed, "only this one");
  command->add_option("--minutes", flags->minutes, "fresh seeds for so long, instead of --seeds")
      ->check(CLI::Range(0.0, 100'000.0));
  command->add_option("--jobs", flags->jobs, "threads")
      ->check(CLI::Range(1U, 1024U))
      ->capture_default_str();
  const auto scenarios = strings(simulator::scenario_names());
  command
      ->add_option("--scenario", flags->world.scenario,
                   "one failure scenario instead of everything at random")
      ->check(CLI::IsMember(scenarios));
  auto* with = command->add_option("--with", flags->world.second, "and another one during it");
  auto* at = command->add_option("--at", flags->world.phase, "in this phase of a stream");
  with->check(CLI::IsMember(scenarios))->needs("--scenario")->needs(at);
  at->check(CLI::IsMember(strings(simulator::phase_names())))->needs(with);
  command->add_flag("--pairs", flags->pairs,
                    "after them: each scenario during each other one, at each phase of a stream");
  command->add_option("--plant", flags->plant, "switch on a mistake, to see that it is found");
  command
      ->add_option("--keep", flags->keep, "only these parts of the world, as a failure names them")
      ->delimiter(',');
  command->add_flag("--narrow", flags->world.narrow,
                    "without partitions, bad links, lags, losses of discovery, relayed requests");
  command->add_flag("--trace", flags->world.trace, "print what happens, line by line");
  command->add_flag("--counts", flags->counts, "print how requests ended");
  command->add_flag("--edges", flags->edges,
                    "print which changes of state no machine made; exit code 1 if there are any");
  command->callback([flags, &exit_code] { exit_code = run_simulations(*flags); });
}

}  // namespace hf::cli
