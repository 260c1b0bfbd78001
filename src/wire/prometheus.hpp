// Metric cells, the registry that knows them, and the Prometheus text page (format 0.0.4).
//
// A cell is counted on with relaxed atomics from any thread; counters and histograms keep one
// cache line a core, so that data cores do not fight for it. Looking a cell up by its labels takes
// a mutex: do it once and keep the handle.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/time.hpp"

namespace hf::wire {

inline constexpr std::string_view kPrometheusContentType =
    "text/plain; version=0.0.4; charset=utf-8";

/// Cells are split into this many lines; a thread always uses the same one.
inline constexpr std::size_t kMetricShards = 8;
/// A family with more label sets than this counts the rest on one whose labels are "_overflow".
inline constexpr std::size_t kMetricSeriesMax = 4096;

/// Writes the text format. Order of calls: family(), its samples, the next family().
class PrometheusWriter {
 public:
  using Labels = std::span<const std::string>;

  /// HELP and TYPE lines; `type` is "counter", "gauge" or "histogram".
  void family(std::string_view name, std::string_view help, std::string_view type);
  /// `name{label="value",…} value`; label values are escaped. names.size() == values.size().
  void sample(std::string_view name, Labels names, Labels values, double value);
  void sample(std::string_view name, Labels names, Labels values, std::uint64_t value);
  /// The _bucket lines (cumulative, +Inf last), _sum and _count. `bounds` are upper bounds in
  /// seconds, ascending; `counts` has one more entry, what lies above the last bound.
  void histogram(std::string_view name, Labels names, Labels values, std::span<const double> bounds,
                 std::span<const std::uint64_t> counts, double sum);

  std::string take() { return std::move(out_); }

 private:
  void start(std::string_view name, std::string_view suffix, Labels names, Labels values,
             std::string_view le);

  std::string out_;
};

/// Which of the kMetricShards this thread uses.
std::size_t metric_shard();

/// Only goes up.
class Counter {
 public:
  void add(std::uint64_t n = 1) {
    shards_[metric_shard()].value.fetch_add(n, std::memory_order_relaxed);
  }
  std::uint64_t value() const;

 private:
  struct alignas(64) Shard {
    std::atomic<std::uint64_t> value{0};
  };
  std::array<Shard, kMetricShards> shards_;
};

/// Goes up and down.
class Gauge {
 public:
  void set(double v) { value_.store(v, std::memory_order_relaxed); }
  void add(double v) { value_.fetch_add(v, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

/// Durations in fixed buckets. A negative duration counts as zero.
class Histogram {
 public:
  /// At most this many bounds.
  static constexpr std::size_t kBoundsMax = 24;

  /// `bounds`: upper bounds in seconds, ascending, kept by reference: a constant.
  explicit Histogram(std::span<const double> bounds);
  void observe(Duration d);

  struct Snapshot {
    std::vector<std::uint64_t> counts;  // one a bucket, not cumulative; the last is above all
    double sum_seconds = 0;
    std::uint64_t total = 0;
  };
  Snapshot snapshot() const;
  std::span<const double> bounds() const { return bounds_; }

 private:
  struct alignas(64) Shard {
    std::array<std::atomic<std::uint64_t>, kBoundsMax + 1> counts{};
    std::atomic<std::uint64_t> sum_ns{0};
  };
  std::span<const double> bounds_;
  std::array<std::int64_t, kBoundsMax> bounds_ns_{};
  std::array<Shard, kMetricShards> shards_;
};

class Registry;

/// What all families have in common, for the registry.
class FamilyBase {
 public:
  FamilyBase(std::string name, std::string help, std::vector<std::string> label_names);
  virtual ~FamilyBase() = default;
  FamilyBase(const FamilyBase&) = delete;
  FamilyBase& operator=(const FamilyBase&) = delete;

  const std::string& name() const { return name_; }
  virtual void render(PrometheusWriter& out) const = 0;
  /// Drops every series whose label `label` has the value `value`.
  virtual void erase_label(std::string_view label, std::string_view value) = 0;

 protected:
  std::string name_;
  std::string help_;
  std::vector<std::string> label_names_;
};

/// A named metric with N labels; its series appear with their first use.
/// T is Counter, Gauge or Histogram (then the constructor takes the bounds).
template <class T, std::size_t N>
class Family final : public FamilyBase {
 public:
  using Handle = std::shared_ptr<T>;

  /// Registers itself; must not outlive the registry. With N = 0 the one series is there at once.
  Family(Registry& registry, std::string name, std::string help,
         std::array<std::string_view, N> label_names, std::span<const double> bounds = {});
  ~Family() override;

  /// The cell with these label values, made if need be. Any thread, takes a mutex: keep the
  /// handle. A series that was erased stays countable through old handles, but is shown no more.
  template <class... Values>
    requires(sizeof...(Values) == N)
  Handle with(const Values&... values) {
    return find_or_make({std::string(values)...});
  }
  /// Drops series, as when a worker is gone for good.
  void erase_if(const std::function<bool(std::span<const std::string>)>& predicate);

  void render(PrometheusWriter& out) const override;
  void erase_label(std::string_view label, std::string_view value) override;

 private:
  Handle find_or_make(std::vector<std::string> values);
  Handle make() const;

  Registry& registry_;
  std::span<const double> bounds_;
  mutable std::mutex mutex_;
  std::map<std::vector<std::string>, Handle> series_;  // sorted: a stable page
};

/// The list of families, in the order of their making. Any thread.
class Registry {
 public:
  /// The whole page. Cells are read one after the other, not at one instant.
  std::string render() const;
  /// Drops the series of every family that has this label with this value.
  void erase_label(std::string_view label, std::string_view value);

  /// Called by a family of itself, first and last.
  void add(FamilyBase* family);
  void remove(FamilyBase* family);

 private:
  mutable std::mutex mutex_;
  std::vector<FamilyBase*> families_;
};

template <class T, std::size_t N>
Family<T, N>::Family(Registry& registry, std::string name, std::string help,
                     std::array<std::string_view, N> label_names, std::span<const double> bounds)
    : FamilyBase(std::move(name), std::move(help), {label_names.begin(), label_names.end()}),
      registry_(registry),
      bounds_(bounds) {
  if constexpr (N == 0) with();
  registry_.add(this);  // last: from here on the page may be rendered
}

template <class T, std::size_t N>
Family<T, N>::~Family() {
  registry_.remove(this);
}

template <class T, std::size_t N>
std::shared_ptr<T> Family<T, N>::make() const {
  if constexpr (std::is_same_v<T, Histogram>) {
    return std::make_shared<T>(bounds_);
  } else {
    return std::make_shared<T>();
  }
}

template <class T, std::size_t N>
std::shared_ptr<T> Family<T, N>::find_or_make(std::vector<std::string> values) {
  const std::lock_guard lock(mutex_);
  if (const auto it = series_.find(values); it != series_.end()) return it->second;
  if (series_.size() >= kMetricSeriesMax) values.assign(N, "_overflow");
  return series_.try_emplace(std::move(values), make()).first->second;
}

template <class T, std::size_t N>
void Family<T, N>::erase_if(const std::function<bool(std::span<const std::string>)>& predicate) {
  const std::lock_guard lock(mutex_);
  std::erase_if(series_, [&](const auto& entry) { return predicate(entry.first); });
}

template <class T, std::size_t N>
void Family<T, N>::erase_label(std::string_view label, std::string_view value) {
  erase_if([&](std::span<const std::string> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (label_names_[i] == label && values[i] == value) return true;
    }
    return false;
  });
}

template <class T, std::size_t N>
void Family<T, N>::render(PrometheusWriter& out) const {
  const std::lock_guard lock(mutex_);
  if constexpr (std::is_same_v<T, Histogram>) {
    out.family(name_, help_, "histogram");
  } else {
    out.family(name_, help_, std::is_same_v<T, Counter> ? "counter" : "gauge");
  }
  for (const auto& [values, cell] : series_) {
    if constexpr (std::is_same_v<T, Histogram>) {
      const auto shot = cell->snapshot();
      out.histogram(name_, label_names_, values, cell->bounds(), shot.counts, shot.sum_seconds);
    } else {
      out.sample(name_, label_names_, values, cell->value());
    }
  }
}

}  // namespace hf::wire
