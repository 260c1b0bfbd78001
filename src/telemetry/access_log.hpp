// The access log: one JSON line a request, written by a thread of its own.
//
// A slow disk or a reader that does not read costs lines, never a request: the queue is bounded
// and what does not fit is dropped and counted.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"

namespace hf::telemetry {

/// Text fields are cut to this many bytes in the log (a model name may come from a client).
inline constexpr std::size_t kAccessFieldBytesMax = 256;
/// And lists to this many entries, the last ones.
inline constexpr std::size_t kAccessListMax = 32;

/// What is told of a request. Never content, never credentials.
struct AccessLine {
  std::chrono::system_clock::time_point ts;  // when the request ended
  std::string request_id;
  std::string model;
  std::string endpoint;                       // "/v1/chat/completions"
  int status = 0;                             // the one sent; 499 for a client that left before
  std::string outcome;                        // as in requests_total
  std::vector<std::string> workers;           // one an attempt, in order
  std::vector<std::string> modes;             // one a migration
  std::vector<std::string> reasons;           // one a migration
  std::vector<Duration> pauses;               // one a migration, shown in ms
  std::optional<Duration> ttft;               // null without a first token
  std::uint64_t tokens = 0;                   // delivered to the client
  std::optional<std::uint64_t> session_hash;  // shown as 16 hex digits
};

/// The line as one JSON object with '\n' behind it; bytes that are no UTF-8 become U+FFFD.
std::string to_json_line(const AccessLine& line);

/// Appends lines to a file or to standard output. write() and reopen() from any thread.
class AccessLog {
 public:
  struct Options {
    std::string path = "-";              // "-" is standard output
    std::size_t bytes_max = 4 << 20;     // waiting to be written; above it lines are dropped
    std::function<void()> on_drop = {};  // for the metric; called by the thread that lost the line
  };

  /// Opens the file (made with mode 0640, appended to) and starts the thread.
  /// Errors: kSystem, `detail` names path and cause.
  static Result<std::unique_ptr<AccessLog>> open(Options options);
  /// Writes what is queued, for at most 1 s where the reader does not read; ends the thread.
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  /// Queues the line. Never blocks on I/O; false if it was dropped.
  bool write(const AccessLine& line) { return write_raw(to_json_line(line)); }
  bool write_raw(std::string_view line_with_newline);

  /// Opens the path anew after what is queued now, as log rotation wants. If that fails the old
  /// file is kept and reopen_failures() goes up. Nothing to do for standard output.
  void reopen();
  /// Waits until all that was queued before the call is written or dropped; for tests and exit.
  void flush();

  std::uint64_t dropped() const;
  std::uint64_t reopen_failures() const;

 private:
  struct State;
  explicit AccessLog(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace hf::telemetry
