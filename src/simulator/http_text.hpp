// Small texts that both simulated dialects write. Internal to the simulator.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "simulator/vocabulary.hpp"

namespace hf::simulator {

/// "Not Found" for 404; "Unknown" for statuses that no engine uses.
std::string_view reason_phrase(int status);
/// "Sun, 22 Nov 2026 02:33:40 GMT"
void append_http_date(std::string& out, std::int64_t unix_s);
/// Characters of UTF-8 text.
std::size_t count_characters(std::string_view text);
/// A number that looks like a log-probability, the same for the same id.
double pretended_logprob(core::TokenId id);
/// The id that "could have been" instead of `id`; `rank` 1… . Never `id` itself, always a letter.
core::TokenId alternative_token(const Vocabulary& vocabulary, core::TokenId id, std::int32_t rank);

}  // namespace hf::simulator
