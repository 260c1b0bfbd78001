#include "cli/sim_runner.hpp"

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "cli/version.hpp"
#include "core/transitions.hpp"

namespace hf::cli {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::duration;

constexpr std::uint64_t kShrinksMax = 3;     // failures beyond these are only named
constexpr std::size_t kTraceLinesMax = 400;  // of a shrunk world, the last ones

struct Totals {
  std::uint64_t worlds = 0, requests = 0, violations = 0, completed = 0, gone = 0, hedges_won = 0;
  std::uint64_t workers = 0, faults = 0, failed_worlds = 0;
  std::map<std::string, std::uint64_t> migrations, errors, cancelled;
  std::map<std::int64_t, std::uint64_t> tokens;  // how many answers had so many
};

struct Job {
  std::uint64_t seed = 0;
  simulator::WorldOptions options;
};

// The command that runs one world again.
std::string replay(const Job& job, const SimFlags& flags) {
  std::string line = "holdfast sim --seed " + std::to_string(job.seed);
  const auto& options = job.options;
  if (!options.scenario.empty()) line += " --scenario " + options.scenario;
  if (!options.second.empty()) line += " --with " + options.second + " --at " + options.phase;
  if (!flags.plant.empty()) line += " --plant " + flags.plant;
  if (options.narrow) line += " --narrow";
  line += " --trace";
  if (!options.keep) return line;
  line += " --keep ";
  for (const auto& part : *options.keep) line += part + ",";
  line.pop_back();
  return line;
}

class Runner {
 public:
  explicit Runner(SimFlags flags) : flags_(std::move(flags)) {
    if (flags_.pairs) {
      for (const auto first : simulator::scenario_names()) {
        for (const auto second : simulator::scenario_names()) {
          for (const auto phase : simulator::phase_names())
            pairs_.push_back({std::string(first), std::string(second), std::string(phase)});
        }
      }
    }
    const bool fresh = flags_.minutes > 0 && !flags_.from;
    from_ = flags_.seed.value_or(flags_.from.value_or(1));
    if (fresh) {
      from_ = (static_cast<std::uint64_t>(std::random_device{}()) << 20U) + 1;
      std::printf("fresh seeds from %" PRIu64 "\n", from_);
      std::fflush(stdout);
    }
    random_ = flags_.minutes > 0 ? UINT64_MAX : flags_.seed ? 1 : flags_.seeds;
    end_ = flags_.minutes > 0 ? UINT64_MAX : random_ + pairs_.size();
  }

  int run() {
    std::vector<std::jthread> others;
    for (unsigned i = 1; i < flags_.jobs; ++i) others.emplace_back([this] { work(); });
    work();
    others.clear();
    const bool all_edges = !flags_.edges || print_edges();
    if (flags_.counts) print_counts();
    const double took = seconds();
    const double rate = took > 0 ? static_cast<double>(totals_.requests) / took : 0;
    std::printf("seeds %" PRIu64 " requests %" PRIu64 " violations %" PRIu64
                " requests_per_s %.0f\n",
                totals_.worlds, totals_.requests, totals_.violations, rate);
    return totals_.violations == 0 && all_edges ? 0 : 1;
  }

 private:
  struct Pair {
    std::string first, second, phase;
  };

  double seconds() const { return duration<double>(Clock::now() - begun_).count(); }

  bool next(Job& job) {
    const std::scoped_lock lock(mutex_);
    const bool late = flags_.minutes > 0 && seconds() > flags_.minutes * 60;
    if (index_ >= end_ || late) return false;
    job.options = flags_.world;
    job.seed = from_ + index_;
    if (index_ >= random_) {
      const auto& pair = pairs_[index_ - random_];
      job.seed = from_;
      job.options.scenario = pair.first;
      job.options.second = pair.second;
      job.options.phase = pair.phase;
    }
    ++index_;
    return true;
  }

  void work() {
    Job job;
    while (next(job)) {
      const auto result = simulator::run_world(job.seed, job.options);
      bool shrink = false;
      {
        const std::scoped_lock lock(mutex_);
        add(result);
        shrink = print(job, result);
      }
      if (shrink) print_shrunk(std::move(job));
    }
  }

  void add(const simulator::SimResult& result) {
    ++totals_.worlds;
    totals_.requests += result.requests;
    totals_.violations += result.violations.size();
    totals_.completed += result.completed;
    totals_.gone += result.clients_gone;
    totals_.hedges_won += result.hedges_won;
    totals_.workers += result.workers;
    totals_.faults += result.faults;
    for (const auto tokens : result.tokens) ++totals_.tokens[tokens];
    for (const auto& [mode, count] : result.migrations) totals_.migrations[mode] += count;
    for (const auto& [code, count] : result.errors) totals_.errors[code] += count;
    for (const auto& [how, count] : result.cancelled) totals_.cancelled[how] += count;
  }

  // True: this failure is to be shrunk.
  bool print(const Job& job, const simulator::SimResult& result) {
    for (const auto& line : result.trace) std::printf("%s\n", line.c_str());
    for (const auto& text : result.violations) {
      std::printf("seed=%" PRIu64 " commit=%s : %s\n", result.seed, commit(), text.c_str());
    }
    if (Clock::now() - told_ >= std::chrono::seconds(2)) {
      told_ = Clock::now();
      std::fprintf(stderr,
                   "%" PRIu64 " worlds, %" PRIu64 " requests, %" PRIu64
                   " violations, %.0f requests/s, at seed %" PRIu64 "\n",
                   totals_.worlds, totals_.requests, totals_.violations,
                   static_cast<double>(totals_.requests) / seconds(), job.seed);
    }
    if (result.violations.empty() || job.options.trace) return false;
    std::printf("seed=%" PRIu64 " commit=%s : replay: %s\n", result.seed, commit(),
                replay(job, flags_).c_str());
    return ++totals_.failed_worlds <= kShrinksMax;
  }

  void print_shrunk(Job job) {
    const auto parts = simulator::shrink_world(job.seed, job.options);
    if (parts.empty()) return;  // it depended on worlds of other threads: there is no such thing
    job.options.keep = parts;
    job.options.trace = true;
    const auto result = simulator::run_world(job.seed, job.options);
    const std::scoped_lock lock(mutex_);
    std::printf("seed=%" PRIu64 " commit=%s : shrunk to %zu of %zu parts: %s\n", job.seed, commit(),
                parts.size(), result.parts.size(), replay(job, flags_).c_str());
    const auto lines = result.trace.size();
    const auto first = lines > kTraceLinesMax ? lines - kTraceLinesMax : 0;
    if (first > 0) std::printf("  … %zu lines before\n", first);
    for (auto i = first; i < lines; ++i) std::printf("  %s\n", result.trace[i].c_str());
    std::fflush(stdout);
  }

  bool print_edges() const {
    bool all = true;
    for (const auto* table : core::transition_tables()) {
      const auto missing = table->missing();
      std::printf("edges of %-8s %zu of %d taken\n", std::string(table->machine()).c_str(),
                  static_cast<std::size_t>(table->count()) - missing.size(), table->count());
      for (const auto& edge : missing) std::printf("  never: %s\n", edge.c_str());
      all = all && missing.empty();
    }
    return all;
  }

  std::int64_t median_tokens() const {
    std::uint64_t left = totals_.completed / 2;
    for (const auto& [tokens, count] : totals_.tokens) {
      if (count > left) return tokens;
      left -= count;
    }
    return 0;
  }

  void print_counts() const {
    const auto print = [](std::string_view what, std::uint64_t value) {
      std::printf("%s %" PRIu64 "\n", std::string(what).c_str(), value);
    };
    print("completed", totals_.completed);
    print("client_gone", totals_.gone);
    print("hedges_won", totals_.hedges_won);
    for (const auto& [mode, count] : totals_.migrations) print("migrations_" + mode, count);
    for (const auto& [how, count] : totals_.cancelled) print(how, count);
    for (const auto& [code, count] : totals_.errors) print("error_" + code, count);
    print("faults", totals_.faults);
    const auto worlds = static_cast<double>(std::max<std::uint64_t>(totals_.worlds, 1));
    const auto cpu = static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
    std::printf("workers_per_world %.1f\n", static_cast<double>(totals_.workers) / worlds);
    std::printf("median_tokens %" PRId64 "\n", median_tokens());
    std::printf("cpu_s %.2f\nrequests_per_cpu_s %.0f\n", cpu,
                cpu > 0 ? static_cast<double>(totals_.requests) / cpu : 0);
  }

  SimFlags flags_;
  std::vector<Pair> pairs_;
  std::uint64_t from_ = 1;
  std::uint64_t random_ = 0;  // worlds, then the pairs
  std::uint64_t end_ = 0;
  Clock::time_point begun_ = Clock::now();
  std::mutex mutex_;  // guards what follows, and the output
  std::uint64_t index_ = 0;
  Totals totals_;
  Clock::time_point told_ = begun_;
};

}  // namespace

int run_simulations(SimFlags flags) {
  if (!flags.plant.empty()) {
    const auto& all = core::kPlantedMistakes;
    const auto* found = std::ranges::find(all, flags.plant, &core::PlantedMistake::name);
    if (found == all.end()) {
      std::fprintf(stderr, "holdfast sim: no mistake is called '%s'; there are:\n",
                   flags.plant.c_str());
      for (const auto& mistake : all) {
        std::fprintf(stderr, "  %-22s %s\n", std::string(mistake.name).c_str(),
                     std::string(mistake.what).c_str());
      }
      return 2;
    }
    flags.world.planted = found->mistake;
  }
  if (!flags.keep.empty()) flags.world.keep = flags.keep;
  return Runner(std::move(flags)).run();
}

}  // namespace hf::cli
