// What one frontend holds now of what it may hold (LimitOptions, docs/limits.md).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "http/byte_budget.hpp"

namespace hf::frontend {

/// One a process. Any thread.
struct Usage {
  explicit Usage(std::int64_t bytes_max) : bytes(bytes_max) {}
  std::atomic<std::size_t> connections{0};
  std::atomic<std::size_t> requests{0};
  http::ByteBudget bytes;
};

}  // namespace hf::frontend
