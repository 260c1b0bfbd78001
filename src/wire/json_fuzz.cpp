// The JSON scanner on any bytes: spans lie in the document, and valid JSON pulls apart whole.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "wire/json.hpp"

namespace {

using hf::wire::JsonKey;
using hf::wire::JsonKind;
using hf::wire::JsonReader;

void must(bool holds) {
  if (!holds) std::abort();
}

void pull(JsonReader& json) {
  JsonKey key;
  std::string text;
  switch (json.peek()) {
    case JsonKind::kObject:
      json.enter_object();
      while (json.next_key(key)) {
        must(key.previous <= key.begin);
        text.clear();
        must(hf::wire::json_unescape(key.raw, text));
        pull(json);
      }
      return;
    case JsonKind::kArray:
      json.enter_array();
      while (json.next_element()) pull(json);
      return;
    case JsonKind::kString: json.read_string(text); return;
    default: json.skip();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view document(reinterpret_cast<const char*>(bytes), size);
  JsonReader pulled(document);
  pull(pulled);
  must(pulled.at_end() == hf::wire::json_valid(document));

  JsonReader json(document);
  JsonKey key;
  if (json.peek() == JsonKind::kObject && hf::wire::json_valid(document)) {
    std::string out;  // without every second member
    std::size_t at = 0;
    bool kept = false;
    json.enter_object();
    for (bool keep = size % 2 == 0; json.next_key(key); keep = !keep) {
      json.skip();
      kept = kept || keep;
      if (keep) continue;
      const auto cut = hf::wire::json_cut(document, key, json.offset(), kept);
      must(cut.begin >= at && cut.end <= size);
      out.append(document, at, cut.begin - at);
      at = cut.end;
    }
    out.append(document.substr(at));
    must(hf::wire::json_valid(out));
  }
  std::string quoted;
  hf::wire::json_append_string(quoted, document);
  must(hf::wire::json_valid(quoted));
  return 0;
}
