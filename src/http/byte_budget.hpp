// Memory that requests hold, counted across cores with relaxed atomics: bodies while they are read
// and afterwards, ledgers, copies for attempts. What is over the bound is refused where it can be
// (a new body); what must grow (a running stream's ledger) grows and is counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace hf::http {

/// One a process. Any thread.
class ByteBudget {
 public:
  explicit ByteBudget(std::int64_t bytes_max) : max_(bytes_max) {}
  ByteBudget(const ByteBudget&) = delete;
  ByteBudget& operator=(const ByteBudget&) = delete;

  std::int64_t used() const { return used_.load(std::memory_order_relaxed); }
  std::int64_t max() const { return max_.load(std::memory_order_relaxed); }
  /// A lower one takes nothing back: it refuses what comes next.
  void set_max(std::int64_t bytes_max) { max_.store(bytes_max, std::memory_order_relaxed); }

 private:
  friend class HeldBytes;
  std::atomic<std::int64_t> used_{0};
  std::atomic<std::int64_t> max_;
};

/// What one holder has of it; given back when it ends. Without a budget it counts nothing. The
/// budget must outlive it.
class HeldBytes {
 public:
  HeldBytes() = default;
  explicit HeldBytes(ByteBudget* budget) : budget_(budget) {}
  HeldBytes(HeldBytes&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  HeldBytes& operator=(HeldBytes&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~HeldBytes() { set(0); }

  /// Holds `bytes` from now on, whatever the others hold.
  void set(std::int64_t bytes) {
    if (budget_ == nullptr || bytes == bytes_) return;
    budget_->used_.fetch_add(bytes - bytes_, std::memory_order_relaxed);
    bytes_ = bytes;
  }
  /// The same; false, and nothing changed, where more is wanted than there is room for.
  [[nodiscard]] bool try_set(std::int64_t bytes) {
    if (budget_ == nullptr || bytes <= bytes_) {
      set(bytes);
      return true;
    }
    const auto more = bytes - bytes_;
    if (budget_->used_.fetch_add(more, std::memory_order_relaxed) + more > budget_->max()) {
      budget_->used_.fetch_sub(more, std::memory_order_relaxed);
      return false;
    }
    bytes_ = bytes;
    return true;
  }
  std::int64_t bytes() const { return bytes_; }

 private:
  ByteBudget* budget_ = nullptr;
  std::int64_t bytes_ = 0;
};

}  // namespace hf::http
