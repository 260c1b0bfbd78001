// Any bytes in any pieces: the same events, whose bytes are those of the stream.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.hpp"
#include "base/random.hpp"
#include "wire/sse.hpp"

namespace {

struct Outcome {
  std::vector<std::string> events;  // whole, data, event and id of each
  std::string whole;                // all events in a row
  std::string rest;
  bool ok = true;
};

void note(const hf::wire::SseEvent& event, Outcome& out) {
  HF_ASSERT(event.size > 0 && event.size == event.whole.size());
  HF_ASSERT(event.whole.ends_with('\n'));
  HF_ASSERT(event.data.empty() || event.has_data);
  HF_ASSERT(!(event.comment_only && (event.has_data || !event.event.empty())));
  HF_ASSERT(event.data.size() <= event.size);
  for (std::string_view part : {event.whole, event.data, event.event, event.id}) {
    out.events.emplace_back(part);
  }
  out.whole += event.whole;
}

template <class Piece>
Outcome run(std::string_view text, std::size_t bytes_max, Piece piece) {
  hf::wire::SseScanner scanner(bytes_max);
  Outcome out;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, piece());
    text.remove_prefix(part.size());
    std::vector<char> buffer(out.rest.begin(), out.rest.end());
    buffer.insert(buffer.end(), part.begin(), part.end());
    std::string_view rest(buffer.data(), buffer.size());
    for (;;) {
      const auto event = scanner.next(rest);
      if (!event) {
        out.ok = false;
        HF_ASSERT(rest.size() > bytes_max);
        return out;
      }
      if (!*event) break;
      HF_ASSERT((*event)->size <= rest.size() && (*event)->size <= bytes_max);
      note(**event, out);
      rest.remove_prefix((*event)->size);
    }
    out.rest = std::string(rest);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 1500) return 0;  // longer ones find nothing new, only slower
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t bytes_max = data[1] < 128 ? std::size_t{1} << 16 : data[1];
  const Outcome whole = run(text, bytes_max, [] { return std::string_view::npos; });
  HF_ASSERT(!whole.ok || whole.whole + whole.rest == text);
  HF_ASSERT(!whole.ok || whole.rest.find("\n\n") == std::string::npos);
  hf::Random random(data[0]);
  // Small texts byte by byte, large ones in fewer pieces: each piece copies what is unread.
  const std::uint64_t piece_max = 1 + text.size() / 16;
  for (const std::uint64_t most : {std::uint64_t{1}, piece_max}) {
    if (most == 1 && text.size() > 128) continue;
    const Outcome parts = run(text, bytes_max, [&] { return 1 + random.below(most); });
    HF_ASSERT(parts.events == whole.events && parts.ok == whole.ok);
    HF_ASSERT(!whole.ok || parts.rest == whole.rest);
  }
  return 0;
}
