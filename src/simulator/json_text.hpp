// Writing JSON by hand, appended to a string: key order and number forms must be those of the
// recorded engines, and an event must cost little.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/types.hpp"

namespace hf::simulator {

/// `text` in quotes, escaped; UTF-8 stays as it is.
void append_json_string(std::string& out, std::string_view text);
void append_int(std::string& out, std::int64_t value);
/// Shortest form that reads back equal; always with a point or an exponent ("12.0").
void append_double(std::string& out, double value);
/// [1,2,3]
void append_ids(std::string& out, std::span<const core::TokenId> ids);
/// The bytes as numbers: [240,159]
void append_byte_list(std::string& out, std::string_view bytes);
/// One HTTP chunk; `payload` is not empty.
void append_chunk(std::string& out, std::string_view payload);

inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace hf::simulator
