// A child process of a run: an engine, a frontend.
//
// It dies with the runner (PR_SET_PDEATHSIG), is always reaped, and is only ever signalled by the
// pid that fork() gave. Its output goes to a log file.
#pragma once

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "net/core.hpp"

namespace hf::chaos {

struct ProcessOptions {
  std::string name;  // "engine-1"
  std::vector<std::string> arguments;
  std::string log_path;                    // appended to
  std::vector<std::string> environment{};  // "NAME=value", besides the runner's own
};

class Process {
 public:
  /// Core thread only: the child is bound to the life of the thread that starts it.
  static Result<Process> start(const ProcessOptions& options);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  /// Kills and reaps it if it still runs.
  ~Process();

  pid_t pid() const { return pid_; }
  /// Still running, stopped ones included. Reaps it when it has ended.
  bool is_running();
  /// Its state in the kernel's words: 'R', 'S', 'T' (stopped) …; 0 once it has ended.
  char state();
  /// How it ended: "was killed by signal 9", "exited with status 0"; while it runs "runs".
  std::string how_ended();
  /// Exit status; -N when signal N ended it; nullopt while it runs.
  std::optional<int> exit_status();

  /// False when it has ended.
  bool signal(int number);
  void kill_and_reap();
  /// True once it has ended.
  static net::Task<bool> ended(net::Core& core, Process& process, Instant deadline);
  /// SIGCONT, SIGTERM, and SIGKILL where that was not enough within `grace`.
  static net::Task<void> end(net::Core& core, Process& process, Duration grace);

 private:
  explicit Process(pid_t pid) : pid_(pid) {}

  pid_t pid_ = -1;
  std::optional<int> wait_status_;
};

/// What a file holds; empty where there is none.
std::string read_file(const std::string& path);
/// False: the system refused.
bool write_file(const std::string& path, std::string_view text);
/// The last `bytes` of a file, for messages.
std::string tail_of(const std::string& path, std::size_t bytes);

}  // namespace hf::chaos
