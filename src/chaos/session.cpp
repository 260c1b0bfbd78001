#include "chaos/session.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <map>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos/process.hpp"
#include "chaos/report.hpp"
#include "chaos/result_reader.hpp"
#include "chaos/run.hpp"
#include "chaos/scenario.hpp"

namespace hf::chaos {
namespace {

namespace files = std::filesystem;

struct Job {
  Scenario scenario;
  std::string stem;  // of its files: "worker_kill", "worker_kill-2"
  std::uint64_t seed = 1;
};

/// What the process of a run left.
ChaosResult read_back(const Job& job, const std::string& path, int status) {
  ChaosResult result;
  if (auto read = from_json(read_file(path))) {
    result = std::move(*read);
  } else {
    result.log.push_back("the run left no result; its process ended with wait status " +
                         std::to_string(status));
    result.form = job.scenario.form;
  }
  result.scenario = job.stem;
  result.streams.clear();  // hundreds of runs may be kept
  return result;
}

class Session {
 public:
  Session(const SessionOptions& options, std::string directory)
      : options_(options), directory_(std::move(directory)) {}

  void add(Job job) { waiting_.push_back(std::move(job)); }

  int run() {
    sigset_t wanted;
    ::sigemptyset(&wanted);
    for (const int number : {SIGINT, SIGTERM, SIGCHLD}) ::sigaddset(&wanted, number);
    ::sigprocmask(SIG_BLOCK, &wanted, &before_);
    while (!running_.empty() || (!waiting_.empty() && !is_interrupted_)) {
      while (!waiting_.empty() && !is_interrupted_ &&
             running_.size() < static_cast<std::size_t>(options_.jobs))
        start();
      const timespec at_most{.tv_sec = 1, .tv_nsec = 0};
      const int number = ::sigtimedwait(&wanted, nullptr, &at_most);
      if (number == SIGINT || number == SIGTERM) {
        is_interrupted_ = true;
        for (const auto& [pid, job] : running_) ::kill(pid, SIGTERM);
      }
      reap();
    }
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    return conclude();
  }

 private:
  std::string work_directory(const Job& job) const { return directory_ + "/" + job.stem + ".logs"; }
  std::string result_path(const Job& job) const { return directory_ + "/" + job.stem + ".json"; }

  void start() {
    auto job = std::move(waiting_.front());
    waiting_.pop_front();
    std::error_code ignored;
    files::remove_all(work_directory(job), ignored);
    files::create_directories(work_directory(job), ignored);
    files::remove(result_path(job), ignored);
    std::fflush(nullptr);
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) ::_exit(127);
      ::sigprocmask(SIG_SETMASK, &before_, nullptr);
      in_child(job);
    }
    if (pid > 0) {
      running_.emplace(pid, std::move(job));
    } else {
      results_.push_back(read_back(job, "", errno));
    }
  }

  [[noreturn]] void in_child(const Job& job) const {
    auto result = run_scenario(
        job.scenario,
        {.seed = job.seed, .commit = options_.commit, .directory = work_directory(job)});
    write_file(result_path(job), to_json(result));
    std::fputs(summary_of(result).c_str(), stdout);
    std::fflush(nullptr);
    ::_exit(0);
  }

  void reap() {
    for (auto it = running_.begin(); it != running_.end();) {
      int status = 0;
      if (::waitpid(it->first, &status, WNOHANG) != it->first) {
        ++it;
        continue;
      }
      results_.push_back(read_back(it->second, result_path(it->second), status));
      const bool is_kept = !options_.out.empty() || results_.back().verdict != Verdict::kPass;
      std::error_code ignored;
      if (!is_kept) files::remove_all(work_directory(it->second), ignored);
      it = running_.erase(it);
    }
  }

  std::size_t count(Verdict verdict) const {
    return static_cast<std::size_t>(std::ranges::count(results_, verdict, &ChaosResult::verdict));
  }

  int conclude() {
    std::ranges::sort(results_, {}, &ChaosResult::scenario);
    if (!options_.out.empty()) {
      write_file(directory_ + "/junit.xml", to_junit(results_));
      if (const auto written = write_reports(directory_); !written)
        std::fprintf(stderr, "holdfast chaos: %s\n", written.error().detail.c_str());
    }
    std::printf("scenarios %zu pass %zu fail %zu void %zu\n", results_.size(),
                count(Verdict::kPass), count(Verdict::kFail), count(Verdict::kVoid));
    const bool is_all_well = count(Verdict::kPass) == results_.size() && !is_interrupted_;
    if (options_.out.empty() && is_all_well) {
      std::error_code ignored;
      files::remove_all(directory_, ignored);
    } else {
      std::printf("results and logs: %s\n", directory_.c_str());
    }
    if (is_interrupted_) return 130;
    return count(Verdict::kFail) > 0 ? 1 : count(Verdict::kVoid) > 0 ? 3 : 0;
  }

  const SessionOptions& options_;
  std::string directory_;
  std::deque<Job> waiting_;
  std::map<pid_t, Job> running_;
  std::vector<ChaosResult> results_;
  sigset_t before_{};
  bool is_interrupted_ = false;
};

Result<std::string> make_directory(const std::string& out) {
  if (out.empty()) {
    auto pattern = (files::temp_directory_path() / "holdfast-chaos-XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) return pattern;
    return fail(Code::kSystem, "cannot make " + pattern + "; give --out DIR");
  }
  std::error_code error;
  files::create_directories(out, error);
  if (error) return fail(Code::kSystem, "cannot make " + out + ": " + error.message());
  return files::absolute(out).string();
}

}  // namespace

Result<std::vector<std::string>> scenario_files(const std::vector<std::string>& paths) {
  std::vector<std::string> out;
  for (const auto& path : paths) {
    std::error_code error;
    if (!files::is_directory(path, error)) {
      if (!files::is_regular_file(path, error))
        return fail(Code::kNotFound, "there is no scenario " + path);
      out.push_back(path);
      continue;
    }
    std::vector<std::string> found;
    for (const auto& entry : files::directory_iterator(path, error))
      if (entry.path().extension() == ".yaml") found.push_back(entry.path().string());
    if (found.empty()) return fail(Code::kNotFound, "no *.yaml in " + path);
    std::ranges::sort(found);
    out.insert(out.end(), found.begin(), found.end());
  }
  return out;
}

int run_session(const SessionOptions& options) {
  const auto paths = scenario_files(options.paths);
  if (!paths) {
    std::fprintf(stderr, "holdfast chaos: %s\n", paths.error().detail.c_str());
    return 2;
  }
  std::vector<Scenario> scenarios;
  bool is_bad = false;
  for (const auto& path : *paths) {
    auto scenario = parse_scenario(read_file(path), path, options.is_long);
    if (scenario) {
      scenarios.push_back(std::move(*scenario));
    } else {
      std::fprintf(stderr, "%s\n", scenario.error().detail.c_str());
      is_bad = true;
    }
  }
  if (is_bad) return 2;
  auto directory = make_directory(options.out);
  if (!directory) {
    std::fprintf(stderr, "holdfast chaos: %s\n", directory.error().detail.c_str());
    return 2;
  }
  Session session(options, std::move(*directory));
  for (int round = 0; round < options.repeat; ++round) {
    for (const auto& scenario : scenarios) {
      const auto suffix = round == 0 ? std::string() : "-" + std::to_string(round + 1);
      session.add({.scenario = scenario,
                   .stem = scenario.name + suffix,
                   .seed = options.seed + static_cast<std::uint64_t>(round)});
    }
  }
  return session.run();
}

}  // namespace hf::chaos
