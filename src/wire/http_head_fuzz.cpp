// Any bytes: no crash, no read past the end, and every prefix agrees with the whole.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.hpp"
#include "wire/http_head.hpp"

namespace {

using hf::wire::Headers;

void check_framing(const Headers& headers, bool chunked, bool has_length) {
  HF_ASSERT(!(chunked && has_length));
  HF_ASSERT(headers.count("transfer-encoding") == (chunked ? 1u : 0u));
  HF_ASSERT(headers.count("content-length") == (has_length ? 1u : 0u));
  HF_ASSERT(headers.size() <= hf::wire::kHeaderFieldsMax);
  for (const auto& field : headers) {
    HF_ASSERT(!field.name.empty());
    HF_ASSERT(field.name.find_first_of(std::string_view("\r\n\0 :", 5)) == std::string::npos);
    HF_ASSERT(field.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos);
  }
}

template <class Parse>
void check(std::string_view text, std::size_t cut, std::size_t bytes_max, Parse parse) {
  const auto whole = parse(text, bytes_max);
  if (whole && *whole) {
    HF_ASSERT((*whole)->size <= text.size() && (*whole)->size <= bytes_max);
    const auto& head = (*whole)->head;
    check_framing(head.headers, head.chunked, head.content_length.has_value());
    // What follows the head changes nothing, and one byte less is not a head.
    const auto exact = parse(text.substr(0, (*whole)->size), bytes_max);
    HF_ASSERT(exact && *exact && (*exact)->size == (*whole)->size);
    const auto less = parse(text.substr(0, (*whole)->size - 1), bytes_max);
    HF_ASSERT(less && !*less);
  }
  // A copy of its own size, so that a read past the end is seen.
  const std::vector<char> copy(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(cut));
  const auto part = parse(std::string_view(copy.data(), copy.size()), bytes_max);
  if (!part) {
    HF_ASSERT(!whole && part.error().code == whole.error().code);
  } else if (*part) {
    HF_ASSERT(whole && *whole && (*whole)->size == (*part)->size);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t cut = text.empty() ? 0 : data[0] % (text.size() + 1);
  const std::size_t bytes_max = data[1] < 128 ? std::size_t{1} << 16 : data[1];
  check(text, cut, bytes_max, hf::wire::parse_request_head);
  check(text, cut, bytes_max, hf::wire::parse_response_head);
  return 0;
}
