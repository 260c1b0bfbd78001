#include "chaos/process.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include "net/clock.hpp"
#include "net/signal.hpp"

namespace hf::chaos {
namespace {

constexpr Duration kPoll = std::chrono::milliseconds(2);

// Between fork and exec: only what is safe there.
[[noreturn]] void become(char* const* arguments, char* const* environment, int log, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  ::setsid();  // Ctrl-C at the terminal is for the runner, which ends its children in order
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::execvpe(arguments[0], arguments, environment);
  ::_exit(127);
}

// As exec() wants them: with a null at the end.
std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (auto& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<Process> Process::start(const ProcessOptions& options) {
  const int log = ::open(options.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0)
    return fail(Code::kSystem, "cannot write " + options.log_path + ": " + std::strerror(errno));
  auto words = options.arguments;
  auto arguments = pointers_to(words);
  auto variables = options.environment;
  for (char** own = environ; *own != nullptr; ++own) variables.emplace_back(*own);
  auto environment = pointers_to(variables);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(arguments.data(), environment.data(), log, parent);
  const int error = errno;
  ::close(log);
  if (pid < 0)
    return fail(Code::kSystem, "cannot start " + options.name + ": " + std::strerror(error));
  return Process(pid);
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), wait_status_(other.wait_status_) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    kill_and_reap();
    pid_ = std::exchange(other.pid_, -1);
    wait_status_ = other.wait_status_;
  }
  return *this;
}

Process::~Process() {
  kill_and_reap();
}

bool Process::is_running() {
  if (pid_ < 0 || wait_status_) return false;
  int status = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &status, WNOHANG);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return true;
  wait_status_ = got == pid_ ? status : 0;
  return false;
}

char Process::state() {
  if (!is_running()) return 0;
  const auto stat = read_file("/proc/" + std::to_string(pid_) + "/stat");
  const auto end = stat.rfind(')');  // the name before it may hold anything
  return end == std::string::npos || end + 2 >= stat.size() ? char(0) : stat[end + 2];
}

std::optional<int> Process::exit_status() {
  if (is_running() || !wait_status_) return std::nullopt;
  return WIFSIGNALED(*wait_status_) ? -WTERMSIG(*wait_status_) : WEXITSTATUS(*wait_status_);
}

std::string Process::how_ended() {
  const auto status = exit_status();
  if (!status) return "runs";
  return *status < 0 ? "was killed by signal " + std::to_string(-*status)
                     : "exited with status " + std::to_string(*status);
}

bool Process::signal(int number) {
  return is_running() && ::kill(pid_, number) == 0;
}

void Process::kill_and_reap() {
  if (!is_running()) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  wait_status_ = status;
}

net::Task<bool> Process::ended(net::Core& core, Process& process, Instant deadline) {
  while (process.is_running()) {
    if (net::now() >= deadline) co_return false;
    co_await net::sleep_until(core, net::now() + kPoll);
  }
  co_return true;
}

net::Task<void> Process::end(net::Core& core, Process& process, Duration grace) {
  if (!process.is_running()) co_return;
  process.signal(SIGTERM);
  process.signal(SIGCONT);
  const bool is_gone = co_await ended(core, process, net::now() + grace);
  if (!is_gone) process.kill_and_reap();
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool write_file(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  return file.good();
}

std::string tail_of(const std::string& path, std::size_t bytes) {
  auto text = read_file(path);
  return text.size() <= bytes ? text : text.substr(text.size() - bytes);
}

}  // namespace hf::chaos
