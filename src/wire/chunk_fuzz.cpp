// Any bytes in any pieces: the same body, the same end, the same error.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.hpp"
#include "base/random.hpp"
#include "wire/chunk.hpp"

namespace {

struct Outcome {
  std::string body;
  std::size_t used = 0;
  bool ok = true;
  bool done = false;
  bool in_chunk = false;
  bool operator==(const Outcome&) const = default;
};

template <class Piece>
Outcome run(std::string_view text, Piece piece) {
  hf::wire::ChunkDecoder decoder;
  Outcome out;
  std::size_t at = 0;
  while (at < text.size() && !decoder.done()) {
    const std::string_view next = text.substr(at, piece());
    const std::vector<char> copy(next.begin(), next.end());
    const std::size_t before = out.body.size();
    const auto n = decoder.decode({copy.data(), copy.size()}, out.body);
    HF_ASSERT(out.body.size() - before <= copy.size());
    if (!n) {
      out.ok = false;
      HF_ASSERT(!decoder.done() && !decoder.decode("0\r\n\r\n", out.body));
      return out;
    }
    HF_ASSERT(*n <= copy.size() && (*n == copy.size() || decoder.done()));
    at += *n;
  }
  out.used = at;
  out.done = decoder.done();
  out.in_chunk = decoder.in_chunk();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = run(text, [] { return std::string_view::npos; });
  hf::Random random(data[0]);
  HF_ASSERT(run(text, [&] { return 1 + random.below(7); }) == whole);
  HF_ASSERT(run(text, [] { return 1; }) == whole);
  if (whole.done) {
    // What was decoded, written by us, decodes to the same.
    std::string again;
    hf::wire::append_chunk(again, whole.body);
    again += hf::wire::kLastChunk;
    const Outcome ours = run(again, [&] { return 1 + random.below(64); });
    HF_ASSERT(ours.done && ours.body == whole.body && ours.used == again.size());
  }
  return 0;
}
