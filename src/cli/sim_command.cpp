#include "cli/sim_command.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cli/version.hpp"
#include "simulator/world.hpp"

namespace hf::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct SimFlags {
  std::uint64_t seeds = 100;
  std::uint64_t from = 1;
  std::optional<std::uint64_t> seed;
  bool trace = false;
  bool counts = false;
  simulator::WorldOptions world;
};

struct Totals {
  std::uint64_t seeds = 0, requests = 0, violations = 0, completed = 0, gone = 0, hedges_won = 0;
  std::map<std::string, std::uint64_t> migrations, errors, cancelled;
  Clock::time_point begun = Clock::now();

  double rate() const {
    const double took = std::chrono::duration<double>(Clock::now() - begun).count();
    return took > 0 ? static_cast<double>(requests) / took : 0;
  }
};

constexpr const char* kExamples =
    "Each seed is a whole fleet with its failures, in virtual time. Exit code 1 if a rule was "
    "broken.\n"
    "Examples:\n"
    "  holdfast sim --seeds 1000\n"
    "  holdfast sim --seeds 100000 --from 5000000\n"
    "  holdfast sim --seed 42 --trace           # replay one, with everything that happened\n"
    "  holdfast sim --scenario worker_kill --seeds 50 --counts\n";

void add(Totals& totals, const simulator::SimResult& result) {
  ++totals.seeds;
  totals.requests += result.requests;
  totals.violations += result.violations.size();
  totals.completed += result.completed;
  totals.gone += result.clients_gone;
  totals.hedges_won += result.hedges_won;
  for (const auto& [mode, count] : result.migrations) totals.migrations[mode] += count;
  for (const auto& [code, count] : result.errors) totals.errors[code] += count;
  for (const auto& [how, count] : result.cancelled) totals.cancelled[how] += count;
}

void print_counts(const Totals& totals) {
  std::printf("completed %" PRIu64 "\nclient_gone %" PRIu64 "\nhedges_won %" PRIu64 "\n",
              totals.completed, totals.gone, totals.hedges_won);
  for (const auto& [mode, count] : totals.migrations) {
    std::printf("migrations_%s %" PRIu64 "\n", mode.c_str(), count);
  }
  for (const auto& [how, count] : totals.cancelled) {
    std::printf("%s %" PRIu64 "\n", how.c_str(), count);
  }
  for (const auto& [code, count] : totals.errors) {
    std::printf("error_%s %" PRIu64 "\n", code.c_str(), count);
  }
}

int run(const SimFlags& flags) {
  const auto from = flags.seed.value_or(flags.from);
  const auto count = flags.seed ? 1 : flags.seeds;
  auto options = flags.world;
  options.trace = flags.trace;
  Totals totals;
  auto told = totals.begun;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto result = simulator::run_world(from + i, options);
    for (const auto& line : result.trace) std::printf("%s\n", line.c_str());
    for (const auto& text : result.violations) {
      std::printf("seed=%" PRIu64 " commit=%s : %s\n", result.seed, commit(), text.c_str());
    }
    add(totals, result);
    if (Clock::now() - told < std::chrono::seconds(2)) continue;
    told = Clock::now();
    std::fprintf(stderr, "%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " violations\n", totals.seeds,
                 count, totals.violations);
  }
  if (flags.counts) print_counts(totals);
  std::printf("seeds %" PRIu64 " requests %" PRIu64 " violations %" PRIu64 " requests_per_s %.0f\n",
              totals.seeds, totals.requests, totals.violations, totals.rate());
  return totals.violations == 0 ? 0 : 1;
}

}  // namespace

void add_sim_command(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<SimFlags>();
  auto* command = app.add_subcommand("sim", "Simulate fleets and their failures, from seeds");
  command->footer(kExamples);
  command->add_option("--seeds", flags->seeds, "how many")
      ->check(CLI::Range(1, 1'000'000'000))
      ->capture_default_str();
  command->add_option("--from", flags->from, "the first seed")->capture_default_str();
  command->add_option("--seed", flags->seed, "only this one");
  command->add_option(
      "--scenario", flags->world.scenario,
      "one failure scenario instead of everything at random: worker_kill, worker_hang, "
      "engine_wedged, prefill_pauses, slow_reader, frontend_pause, resume_storm, "
      "poison_request, all_dead, client_gone, cancel_stop, cancel_kill");
  command->add_flag("--trace", flags->trace, "print what happens, line by line");
  command->add_flag("--counts", flags->counts, "print how requests ended");
  command->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace hf::cli
