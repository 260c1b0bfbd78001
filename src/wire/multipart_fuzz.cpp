// Any bytes: no crash, and every part lies within the body, in order.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.hpp"
#include "wire/multipart.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto line = text.find('\n');
  if (line == text.npos) return 0;
  const auto boundary = hf::wire::multipart_boundary(text.substr(0, line));
  if (!boundary) return 0;
  const auto body = text.substr(line + 1);
  const auto parts = hf::wire::multipart_parts(body, *boundary);
  if (!parts) return 0;
  HF_ASSERT(parts->size() <= hf::wire::kPartsMax);
  const char* before = body.data();
  for (const auto& part : *parts) {
    HF_ASSERT(part.content.data() >= before);
    before = part.content.data() + part.content.size();
    HF_ASSERT(before <= body.data() + body.size());
  }
  return 0;
}
