#include "simulator/http_text.hpp"

#include <algorithm>
#include <array>
#include <ctime>

#include "base/random.hpp"

namespace hf::simulator {

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 429: return "Too Many Requests";
    case 500: return "Internal Server Error";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return "Unknown";
  }
}

void append_http_date(std::string& out, std::int64_t unix_s) {
  const std::time_t time = static_cast<std::time_t>(unix_s);
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::array<char, 40> text;
  const std::size_t size =
      std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  out.append(text.data(), size);
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

double pretended_logprob(core::TokenId id) {
  return -static_cast<double>(mix64(static_cast<std::uint64_t>(id)) % 4000 + 1) / 1024.0;
}

core::TokenId alternative_token(const Vocabulary& vocabulary, core::TokenId id, std::int32_t rank) {
  const auto letter = [&](std::int32_t n) {
    return vocabulary.byte(static_cast<unsigned char>('a' + (id + n) % 26));
  };
  const core::TokenId token = letter(rank);
  return token == id ? letter(25) : token;  // ranks go to 20
}

}  // namespace hf::simulator
