// The last requests that failed, for whoever asks the admin API what became of one.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace hf::frontend {

struct FailedRequest {
  std::string id;
  std::string outcome;
  int status = 0;
  std::string line;  // what its machine said of itself at the end
};

/// Bounded: the oldest goes first. Any thread; the lock is taken by requests that fail only.
class FailedRequests {
 public:
  static constexpr std::size_t kKept = 1'000;

  void add(FailedRequest request);
  /// The last one with this id.
  std::optional<FailedRequest> find(std::string_view id) const;

 private:
  mutable std::mutex mutex_;
  std::deque<FailedRequest> requests_;
};

}  // namespace hf::frontend
