#include "config/value.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace hf::config {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};
// The largest first: what is shown takes the first that divides it.
constexpr std::array kDurations = {Unit{"h", 3600e9}, Unit{"m", 60e9}, Unit{"s", 1e9},
                                   Unit{"ms", 1e6},   Unit{"us", 1e3}, Unit{"ns", 1}};
constexpr std::array kSizes = {
    Unit{"TiB", 1024.0 * 1024 * 1024 * 1024},
    Unit{"GiB", 1024.0 * 1024 * 1024},
    Unit{"MiB", 1024.0 * 1024},
    Unit{"KiB", 1024.0},
};
constexpr std::array kDecimalSizes = {Unit{"TB", 1e12}, Unit{"GB", 1e9}, Unit{"MB", 1e6},
                                      Unit{"kB", 1e3},  Unit{"KB", 1e3}, Unit{"B", 1}};
constexpr double kDurationMax = 10.0 * 365 * 24 * 3600e9;
constexpr double kSizeMax = 9e15;  // exact in a double

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// The number in front and the unit behind it.
std::pair<Result<double>, std::string_view> split(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size() && (is_digit(text[at]) || text[at] == '.')) ++at;
  return {parse_number(text.substr(0, at)), trimmed(text.substr(at))};
}

template <class Units>
const Unit* find(const Units& units, std::string_view name) {
  const auto it = std::ranges::find(units, name, &Unit::name);
  return it == units.end() ? nullptr : &*it;
}

std::string whole(std::int64_t value) {
  return std::to_string(value);
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

Result<Duration> parse_duration(std::string_view text) {
  const auto [number, name] = split(trimmed(text));
  const auto* unit = find(kDurations, name.empty() ? std::string_view("s") : name);
  if (!number || unit == nullptr || *number * unit->factor > kDurationMax) {
    return fail(Code::kBadInput, "'" + std::string(text) +
                                     "' is no duration; give seconds, or a number with ms, s, m "
                                     "or h, as 250ms or 5s");
  }
  return Duration(std::llround(*number * unit->factor));
}

std::string show_duration(Duration value) {
  if (value.count() == 0) return "0s";
  for (const auto& unit : kDurations) {
    const auto factor = static_cast<std::int64_t>(unit.factor);
    // 90 s reads better than 1.5 m, 600 s as 10 m.
    if (value.count() % factor == 0) return whole(value.count() / factor).append(unit.name);
  }
  return {};
}

Result<std::int64_t> parse_size(std::string_view text) {
  const auto [number, name] = split(trimmed(text));
  const auto* unit = find(kSizes, name);
  if (unit == nullptr) unit = find(kDecimalSizes, name.empty() ? std::string_view("B") : name);
  if (!number || unit == nullptr || *number * unit->factor > kSizeMax) {
    return fail(Code::kBadInput, "'" + std::string(text) +
                                     "' is no size; give bytes, or a number with KiB, MiB or GiB, "
                                     "as 32MiB");
  }
  return std::llround(*number * unit->factor);
}

std::string show_size(std::int64_t bytes) {
  for (const auto& unit : kSizes) {
    const auto factor = static_cast<std::int64_t>(unit.factor);
    if (bytes != 0 && bytes % factor == 0) return whole(bytes / factor).append(unit.name);
  }
  return whole(bytes);
}

Result<std::int64_t> parse_count(std::string_view text) {
  std::string digits;
  for (const char c : trimmed(text)) {
    if (c != '_' && c != ',') digits += c;
  }
  std::int64_t value = 0;
  const char* begin = digits.data();
  const char* end = begin + digits.size();
  const auto read = std::from_chars(begin, end, value);
  if (digits.empty() || read.ec != std::errc() || read.ptr != end)
    return fail(Code::kBadInput, "'" + std::string(text) + "' is no whole number");
  return value;
}

Result<double> parse_number(std::string_view text) {
  const auto digits = trimmed(text);
  double value = 0;
  const char* begin = digits.data();
  const char* end = begin + digits.size();
  const auto read = std::from_chars(begin, end, value, std::chars_format::fixed);
  if (digits.empty() || read.ec != std::errc() || read.ptr != end || !std::isfinite(value))
    return fail(Code::kBadInput, "'" + std::string(text) + "' is no number");
  return value;
}

std::string show_number(double value) {
  std::array<char, 64> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), written.ptr};
}

Result<bool> parse_switch(std::string_view text) {
  std::string word(trimmed(text));
  for (auto& c : word) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
  for (const auto* yes : {"true", "yes", "on", "1"}) {
    if (word == yes) return true;
  }
  for (const auto* no : {"false", "no", "off", "0"}) {
    if (word == no) return false;
  }
  return fail(Code::kBadInput, "'" + std::string(text) + "' is no switch; give true or false");
}

}  // namespace hf::config
