// How values are written: durations, sizes, numbers, switches. Each read error says what to give.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"

namespace hf::config {

/// "250ms", "5s", "2m", "1h", or plain seconds ("5", "0.25"). Not negative, at most 10 years.
Result<Duration> parse_duration(std::string_view text);
std::string show_duration(Duration value);

/// "65536", "64KiB", "32MiB", "1GiB", "1TiB", "10MB" (powers of ten without the i).
Result<std::int64_t> parse_size(std::string_view text);
std::string show_size(std::int64_t bytes);

/// Decimal digits, underscores or commas between them allowed ("65,536").
Result<std::int64_t> parse_count(std::string_view text);
/// A finite decimal number.
Result<double> parse_number(std::string_view text);
std::string show_number(double value);

/// true/false, yes/no, on/off, 1/0; any case.
Result<bool> parse_switch(std::string_view text);

std::string_view trimmed(std::string_view text);

}  // namespace hf::config
