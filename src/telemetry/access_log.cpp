#include "telemetry/access_log.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <mutex>
#include <poll.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "wire/json.hpp"

namespace hf::telemetry {

namespace {

void append_string(std::string& out, std::string_view text) {
  wire::json_append_string(out, text.substr(0, kAccessFieldBytesMax));
}

void append_millis(std::string& out, Duration d) {
  char text[64];
  const auto [end, ec] =
      std::to_chars(text, text + sizeof text, millis(d), std::chars_format::fixed, 3);
  out.append(text, ec == std::errc() ? end : text);
}

template <class T, class Append>
void append_list(std::string& out, const std::vector<T>& all, Append append) {
  out += '[';
  const std::size_t first = all.size() - std::min(all.size(), kAccessListMax);
  for (std::size_t i = first; i < all.size(); ++i) {
    if (i > first) out += ',';
    append(out, all[i]);
  }
  out += ']';
}

/// "2026-11-22T02:33:12.045Z"
void append_time(std::string& out, std::chrono::system_clock::time_point ts) {
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(ts);
  const auto s = std::chrono::floor<std::chrono::seconds>(ms);
  const std::time_t time = std::chrono::system_clock::to_time_t(s);
  std::tm utc{};
  gmtime_r(&time, &utc);
  char text[40];
  out.append(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc));
  std::string fraction = std::to_string(1000 + (ms - s).count());
  fraction.front() = '.';
  out += fraction + "Z";
}

std::string hex16(std::uint64_t value) {
  char text[16];
  const std::string_view digits(
      text, static_cast<std::size_t>(std::to_chars(text, text + 16, value, 16).ptr - text));
  return std::string(16 - digits.size(), '0').append(digits);
}

int open_file(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

}  // namespace

std::string to_json_line(const AccessLine& line) {
  std::string out = "{\"ts\":\"";
  append_time(out, line.ts);
  out += '"';
  const auto text = [&](std::string_view key, std::string_view value) {
    out.append(",\"").append(key).append("\":");
    append_string(out, value);
  };
  const auto list = [&](std::string_view key, const auto& values, auto append) {
    out.append(",\"").append(key).append("\":");
    append_list(out, values, append);
  };
  text("request_id", line.request_id);
  text("model", line.model);
  text("endpoint", line.endpoint);
  out += ",\"status\":" + std::to_string(line.status);
  text("outcome", line.outcome);
  list("workers", line.workers, append_string);
  list("modes", line.modes, append_string);
  list("reasons", line.reasons, append_string);
  list("pauses_ms", line.pauses, append_millis);
  out += ",\"ttft_ms\":";
  if (line.ttft) {
    append_millis(out, *line.ttft);
  } else {
    out += "null";
  }
  out += ",\"tokens\":" + std::to_string(line.tokens);
  out += ",\"session_hash\":";
  out += line.session_hash ? "\"" + hex16(*line.session_hash) + "\"" : "null";
  out += "}\n";
  return out;
}

/// What write() and the thread share. The file belongs to the thread.
struct AccessLog::State {
  explicit State(Options o) : options(std::move(o)) {}

  Options options;
  int fd = -1;
  std::thread thread;

  std::mutex mutex;
  std::condition_variable wake;  // the thread: there is something to do
  std::condition_variable idle;  // flush(): something was done
  std::string queued;            // whole lines
  std::size_t queued_lines = 0;
  std::uint64_t queued_seq = 0;  // lines ever queued
  std::uint64_t done_seq = 0;    // … of which written or dropped
  std::uint64_t reopens_wanted = 0;
  std::uint64_t reopens_done = 0;
  bool is_stopping = false;
  std::chrono::steady_clock::time_point give_up_at;

  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint64_t> reopen_failures{0};

  bool is_stdout() const { return options.path == "-"; }
  void drop(std::uint64_t lines);
  void run();
  void reopen();
  bool wait_writable();
  void write_all(std::string_view lines);
};

void AccessLog::State::drop(std::uint64_t lines) {
  dropped.fetch_add(lines, std::memory_order_relaxed);
  if (!options.on_drop) return;
  for (std::uint64_t i = 0; i < lines; ++i) options.on_drop();
}

void AccessLog::State::reopen() {
  if (is_stdout()) return;
  const int fresh = open_file(options.path);
  if (fresh < 0) {
    reopen_failures.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  ::close(std::exchange(fd, fresh));
}

/// False when the log is ending and the reader still does not read.
bool AccessLog::State::wait_writable() {
  for (;;) {
    pollfd p{fd, POLLOUT, 0};
    if (::poll(&p, 1, 100) > 0) return true;
    const std::lock_guard lock(mutex);
    if (is_stopping && std::chrono::steady_clock::now() >= give_up_at) return false;
  }
}

void AccessLog::State::write_all(std::string_view lines) {
  // A pipe that polls as writable takes this much without blocking; so the end is never held up.
  constexpr std::size_t kPieceBytes = 4096;
  while (!lines.empty()) {
    if (!wait_writable()) break;
    const ssize_t n = ::write(fd, lines.data(), std::min(lines.size(), kPieceBytes));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) break;
    lines.remove_prefix(static_cast<std::size_t>(n));
  }
  const auto lost = std::count(lines.begin(), lines.end(), '\n');
  if (lost > 0) drop(static_cast<std::uint64_t>(lost));
}

void AccessLog::State::run() {
  // A reader that closed its pipe is an error of write(), not the end of the process.
  sigset_t pipe_signal;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, nullptr);

  std::unique_lock lock(mutex);
  for (;;) {
    wake.wait(lock,
              [&] { return !queued.empty() || reopens_done < reopens_wanted || is_stopping; });
    if (queued.empty() && reopens_done == reopens_wanted) return;
    const std::string batch = std::exchange(queued, {});
    const std::uint64_t lines = std::exchange(queued_lines, 0);
    const std::uint64_t reopens = reopens_wanted;
    const bool reopens_now = reopens > reopens_done;
    lock.unlock();
    write_all(batch);
    if (reopens_now) reopen();
    lock.lock();
    done_seq += lines;
    reopens_done = reopens;
    idle.notify_all();
  }
}

Result<std::unique_ptr<AccessLog>> AccessLog::open(Options options) {
  auto state = std::make_unique<State>(std::move(options));
  state->fd = state->is_stdout() ? ::dup(STDOUT_FILENO) : open_file(state->options.path);
  if (state->fd < 0) {
    return fail(Code::kSystem, "access log " + state->options.path + ": " + std::strerror(errno));
  }
  State* raw = state.get();
  state->thread = std::thread([raw] { raw->run(); });
  return std::unique_ptr<AccessLog>(new AccessLog(std::move(state)));
}

AccessLog::AccessLog(std::unique_ptr<State> state) : state_(std::move(state)) {}

AccessLog::~AccessLog() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->is_stopping = true;
    state_->give_up_at = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  }
  state_->wake.notify_one();
  state_->thread.join();
  ::close(state_->fd);
}

bool AccessLog::write_raw(std::string_view line) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->queued.size() + line.size() <= state_->options.bytes_max) {
      state_->queued += line;
      ++state_->queued_lines;
      ++state_->queued_seq;
      state_->wake.notify_one();
      return true;
    }
  }
  state_->drop(1);
  return false;
}

void AccessLog::reopen() {
  const std::lock_guard lock(state_->mutex);
  ++state_->reopens_wanted;
  state_->wake.notify_one();
}

void AccessLog::flush() {
  std::unique_lock lock(state_->mutex);
  const std::uint64_t target = state_->queued_seq;
  const std::uint64_t reopens = state_->reopens_wanted;
  state_->idle.wait(lock,
                    [&] { return state_->done_seq >= target && state_->reopens_done >= reopens; });
}

std::uint64_t AccessLog::dropped() const {
  return state_->dropped;
}
std::uint64_t AccessLog::reopen_failures() const {
  return state_->reopen_failures;
}

}  // namespace hf::telemetry
