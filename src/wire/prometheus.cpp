#include "wire/prometheus.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/assert.hpp"

namespace hf::wire {

namespace {

void append_escaped(std::string& out, std::string_view text, bool is_label) {
  for (char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && is_label) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

template <class Number>
void append_chars(std::string& out, Number value) {
  char text[40];
  out.append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

void append_number(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else {
    append_chars(out, value);
  }
}

}  // namespace

void PrometheusWriter::family(std::string_view name, std::string_view help, std::string_view type) {
  out_.append("# HELP ").append(name).append(" ");
  append_escaped(out_, help, false);
  out_.append("\n# TYPE ").append(name).append(" ").append(type).append("\n");
}

void PrometheusWriter::start(std::string_view name, std::string_view suffix, Labels names,
                             Labels values, std::string_view le) {
  HF_ASSERT(names.size() == values.size());
  out_.append(name).append(suffix);
  char separator = '{';
  for (std::size_t i = 0; i < names.size(); ++i) {
    out_ += std::exchange(separator, ',');
    out_.append(names[i]).append("=\"");
    append_escaped(out_, values[i], true);
    out_ += '"';
  }
  if (!le.empty()) {
    out_ += std::exchange(separator, ',');
    out_.append("le=\"").append(le).append("\"");
  }
  if (separator == ',') out_ += '}';
  out_ += ' ';
}

void PrometheusWriter::sample(std::string_view name, Labels names, Labels values, double value) {
  start(name, "", names, values, "");
  append_number(out_, value);
  out_ += '\n';
}

void PrometheusWriter::sample(std::string_view name, Labels names, Labels values,
                              std::uint64_t value) {
  start(name, "", names, values, "");
  append_chars(out_, value);
  out_ += '\n';
}

void PrometheusWriter::histogram(std::string_view name, Labels names, Labels values,
                                 std::span<const double> bounds,
                                 std::span<const std::uint64_t> counts, double sum) {
  HF_ASSERT(counts.size() == bounds.size() + 1);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    std::string le = "+Inf";
    if (i < bounds.size()) {
      le.clear();
      append_number(le, bounds[i]);
    }
    total += counts[i];
    start(name, "_bucket", names, values, le);
    append_chars(out_, total);
    out_ += '\n';
  }
  start(name, "_sum", names, values, "");
  append_number(out_, sum);
  out_ += '\n';
  start(name, "_count", names, values, "");
  append_chars(out_, total);
  out_ += '\n';
}

std::size_t metric_shard() {
  static std::atomic<std::size_t> threads{0};
  thread_local const std::size_t mine =
      threads.fetch_add(1, std::memory_order_relaxed) % kMetricShards;
  return mine;
}

std::uint64_t Counter::value() const {
  std::uint64_t sum = 0;
  for (const Shard& shard : shards_) sum += shard.value.load(std::memory_order_relaxed);
  return sum;
}

Histogram::Histogram(std::span<const double> bounds) : bounds_(bounds) {
  HF_ASSERT(bounds.size() <= kBoundsMax && std::is_sorted(bounds.begin(), bounds.end()));
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    bounds_ns_[i] = static_cast<std::int64_t>(std::llround(bounds[i] * 1e9));
  }
}

void Histogram::observe(Duration d) {
  const std::int64_t ns = std::max<std::int64_t>(d.count(), 0);
  const auto first = bounds_ns_.begin();
  const auto last = first + static_cast<std::ptrdiff_t>(bounds_.size());
  // A bucket holds what is <= its bound.
  const auto bucket = static_cast<std::size_t>(std::lower_bound(first, last, ns) - first);
  Shard& shard = shards_[metric_shard()];
  shard.counts[bucket].fetch_add(1, std::memory_order_relaxed);
  shard.sum_ns.fetch_add(static_cast<std::uint64_t>(ns), std::memory_order_relaxed);
}

Histogram::Snapshot Histogram::snapshot() const {
  Snapshot out;
  out.counts.resize(bounds_.size() + 1);
  std::uint64_t sum_ns = 0;
  for (const Shard& shard : shards_) {
    for (std::size_t i = 0; i < out.counts.size(); ++i) {
      out.counts[i] += shard.counts[i].load(std::memory_order_relaxed);
    }
    sum_ns += shard.sum_ns.load(std::memory_order_relaxed);
  }
  for (std::uint64_t n : out.counts) out.total += n;
  out.sum_seconds = static_cast<double>(sum_ns) / 1e9;
  return out;
}

FamilyBase::FamilyBase(std::string name, std::string help, std::vector<std::string> label_names)
    : name_(std::move(name)), help_(std::move(help)), label_names_(std::move(label_names)) {}

void Registry::add(FamilyBase* family) {
  const std::lock_guard lock(mutex_);
  for (const FamilyBase* other : families_) HF_ASSERT(other->name() != family->name());
  families_.push_back(family);
}

void Registry::remove(FamilyBase* family) {
  const std::lock_guard lock(mutex_);
  std::erase(families_, family);
}

std::string Registry::render() const {
  const std::lock_guard lock(mutex_);
  PrometheusWriter out;
  for (const FamilyBase* family : families_) family->render(out);
  return out.take();
}

void Registry::erase_label(std::string_view label, std::string_view value) {
  const std::lock_guard lock(mutex_);
  for (FamilyBase* family : families_) family->erase_label(label, value);
}

}  // namespace hf::wire
