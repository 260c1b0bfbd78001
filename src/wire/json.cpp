#include "wire/json.hpp"

#include <charconv>
#include <limits>

namespace hf::wire {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_continuation(unsigned char c) {
  return (c & 0xC0) == 0x80;
}

/// Length of the UTF-8 sequence at `at`; 0 when there is none (overlong forms, surrogates and what
/// lies above U+10FFFF included).
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) -> unsigned char {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0;
  };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return is_continuation(byte(1)) ? 2 : 0;
  if (lead < 0xF0) {
    const unsigned char low = lead == 0xE0 ? 0xA0 : 0x80;
    const unsigned char high = lead == 0xED ? 0x9F : 0xBF;
    return byte(1) >= low && byte(1) <= high && is_continuation(byte(2)) ? 3 : 0;
  }
  if (lead < 0xF5) {
    const unsigned char low = lead == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = lead == 0xF4 ? 0x8F : 0xBF;
    const bool good =
        byte(1) >= low && byte(1) <= high && is_continuation(byte(2)) && is_continuation(byte(3));
    return good ? 4 : 0;
  }
  return 0;
}

/// The four hex digits at `at`; -1 when they are not there.
int hex4(std::string_view text, std::size_t at) {
  if (text.size() < 4 || at > text.size() - 4) return -1;
  int value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    const char c = text[i];
    int digit = 0;
    if (is_digit(c))
      digit = c - '0';
    else if (c >= 'a' && c <= 'f')
      digit = c - 'a' + 10;
    else if (c >= 'A' && c <= 'F')
      digit = c - 'A' + 10;
    else
      return -1;
    value = value * 16 + digit;
  }
  return value;
}

/// What an escape at `at` (a backslash) stands for, and how long it is; length 0: malformed.
struct Escape {
  char32_t code = 0;
  std::size_t length = 0;
};

Escape read_escape(std::string_view text, std::size_t at) {
  if (at + 1 >= text.size()) return {};
  switch (text[at + 1]) {
    case '"': return {U'"', 2};
    case '\\': return {U'\\', 2};
    case '/': return {U'/', 2};
    case 'b': return {U'\b', 2};
    case 'f': return {U'\f', 2};
    case 'n': return {U'\n', 2};
    case 'r': return {U'\r', 2};
    case 't': return {U'\t', 2};
    case 'u': break;
    default: return {};
  }
  const int first = hex4(text, at + 2);
  if (first < 0 || (first >= 0xDC00 && first <= 0xDFFF)) return {};
  if (first < 0xD800 || first > 0xDBFF) return {static_cast<char32_t>(first), 6};
  if (at + 7 >= text.size() || text[at + 6] != '\\' || text[at + 7] != 'u') return {};
  const int second = hex4(text, at + 8);
  if (second < 0xDC00 || second > 0xDFFF) return {};
  return {static_cast<char32_t>(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)), 12};
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

/// Bytes that stand in a string as they are, and need no look at what follows them.
bool is_plain(unsigned char c) {
  return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

}  // namespace

void JsonReader::blanks() {
  while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
}

bool JsonReader::fail() {
  failed_ = true;
  return false;
}

JsonKind JsonReader::peek() {
  blanks();
  if (failed_ || at_ >= text_.size()) return JsonKind::kBad;
  switch (text_[at_]) {
    case 'n': return JsonKind::kNull;
    case 'f': return JsonKind::kFalse;
    case 't': return JsonKind::kTrue;
    case '"': return JsonKind::kString;
    case '[': return JsonKind::kArray;
    case '{': return JsonKind::kObject;
    default: break;
  }
  return is_digit(text_[at_]) || text_[at_] == '-' ? JsonKind::kNumber : JsonKind::kBad;
}

bool JsonReader::scan_word(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return fail();
  at_ += word.size();
  return true;
}

bool JsonReader::scan_number() {
  const auto digits = [&] {
    const std::size_t from = at_;
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
    return at_ - from;
  };
  const auto at = [&](char c) { return at_ < text_.size() && text_[at_] == c; };
  if (at('-')) ++at_;
  const bool zero = at('0');
  const std::size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return fail();
  if (at('.')) {
    ++at_;
    if (digits() == 0) return fail();
  }
  if (at('e') || at('E')) {
    ++at_;
    if (at('+') || at('-')) ++at_;
    if (digits() == 0) return fail();
  }
  return true;
}

bool JsonReader::scan_string(bool& escaped) {
  escaped = false;
  ++at_;  // the opening quote
  while (at_ < text_.size()) {
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (is_plain(c)) {
      ++at_;
    } else if (c == '"') {
      ++at_;
      return true;
    } else if (c == '\\') {
      escaped = true;
      const std::size_t length = read_escape(text_, at_).length;
      if (length == 0) return fail();
      at_ += length;
    } else {
      const std::size_t length = c < 0x20 ? 0 : utf8_length(text_, at_);
      if (length == 0) return fail();
      at_ += length;
    }
  }
  return fail();
}

bool JsonReader::scan_scalar(JsonKind kind) {
  bool escaped = false;
  switch (kind) {
    case JsonKind::kNull: return scan_word("null");
    case JsonKind::kFalse: return scan_word("false");
    case JsonKind::kTrue: return scan_word("true");
    case JsonKind::kNumber: return scan_number();
    case JsonKind::kString: return scan_string(escaped);
    case JsonKind::kArray:
    case JsonKind::kObject:
    case JsonKind::kBad: break;
  }
  return fail();
}

bool JsonReader::push() {
  if (depth_ == kJsonDepthMax) return fail();
  ++at_;  // the bracket
  first_ |= std::uint64_t{1} << depth_;
  ++depth_;
  return true;
}

bool JsonReader::enter_object() {
  return peek() == JsonKind::kObject ? push() : fail();
}
bool JsonReader::enter_array() {
  return peek() == JsonKind::kArray ? push() : fail();
}

bool JsonReader::next_key(JsonKey& key) {
  if (failed_) return false;
  const std::size_t previous = at_;
  blanks();
  if (at_ >= text_.size()) return fail();
  const std::uint64_t bit = std::uint64_t{1} << (depth_ - 1);
  if (text_[at_] == '}') {
    ++at_;
    --depth_;
    first_ &= ~bit;
    return false;
  }
  if ((first_ & bit) == 0) {
    if (text_[at_] != ',') return fail();
    ++at_;
    blanks();
  }
  first_ &= ~bit;
  if (at_ >= text_.size() || text_[at_] != '"') return fail();
  key.begin = at_;
  key.previous = previous;
  if (!scan_string(key.escaped)) return false;
  key.raw = text_.substr(key.begin + 1, at_ - key.begin - 2);
  blanks();
  if (at_ >= text_.size() || text_[at_] != ':') return fail();
  ++at_;
  return true;
}

bool JsonReader::next_element() {
  if (failed_) return false;
  blanks();
  if (at_ >= text_.size()) return fail();
  const std::uint64_t bit = std::uint64_t{1} << (depth_ - 1);
  if (text_[at_] == ']') {
    ++at_;
    --depth_;
    first_ &= ~bit;
    return false;
  }
  if ((first_ & bit) == 0) {
    if (text_[at_] != ',') return fail();
    ++at_;
  }
  first_ &= ~bit;
  return true;
}

JsonSpan JsonReader::skip() {
  JsonKind kind = peek();
  const std::size_t begin = at_;
  const std::size_t base = depth_;
  std::uint64_t objects = 0;  // bit d: what was entered at depth d + 1 is an object
  JsonKey key;
  while (!failed_) {
    if (kind == JsonKind::kObject || kind == JsonKind::kArray) {
      if (!push()) break;
      const std::uint64_t bit = std::uint64_t{1} << (depth_ - 1);
      objects = kind == JsonKind::kObject ? objects | bit : objects & ~bit;
    } else if (!scan_scalar(kind)) {
      break;
    }
    while (depth_ > base && !failed_) {
      const bool in_object = (objects >> (depth_ - 1)) & 1;
      if (in_object ? next_key(key) : next_element()) break;
    }
    if (depth_ == base) break;
    kind = peek();
  }
  if (failed_) return {begin, begin};
  return {begin, at_};
}

bool JsonReader::read_string(std::string& out) {
  if (peek() != JsonKind::kString) return fail();
  const std::size_t begin = at_ + 1;
  bool escaped = false;
  if (!scan_string(escaped)) return false;
  const std::string_view body = text_.substr(begin, at_ - begin - 1);
  if (!escaped) {
    out.append(body);
    return true;
  }
  return json_unescape(body, out) || fail();
}

bool JsonReader::read_int(std::int64_t& out) {
  if (peek() != JsonKind::kNumber) return fail();
  const std::size_t begin = at_;
  if (!scan_number()) return false;
  return json_int(text_.substr(begin, at_ - begin), out) || fail();
}

bool JsonReader::read_bool(bool& out) {
  const JsonKind kind = peek();
  if (kind != JsonKind::kTrue && kind != JsonKind::kFalse) return fail();
  out = kind == JsonKind::kTrue;
  return scan_scalar(kind);
}

bool JsonReader::at_end() {
  blanks();
  return !failed_ && depth_ == 0 && at_ == text_.size();
}

JsonSpan json_cut(std::string_view document, const JsonKey& key, std::size_t value_end,
                  bool kept_before) {
  if (kept_before) return {key.previous, value_end};
  std::size_t end = value_end;
  while (end < document.size() && is_blank(document[end])) ++end;
  if (end >= document.size() || document[end] != ',') return {key.begin, value_end};
  ++end;
  while (end < document.size() && is_blank(document[end])) ++end;
  return {key.begin, end};
}

bool json_valid(std::string_view document) {
  JsonReader reader(document);
  reader.skip();
  return reader.at_end();
}

bool json_unescape(std::string_view body, std::string& out) {
  std::size_t at = 0;
  while (at < body.size()) {
    const std::size_t slash = body.find('\\', at);
    if (slash == std::string_view::npos) break;
    out.append(body, at, slash - at);
    const Escape escape = read_escape(body, slash);
    if (escape.length == 0) return false;
    append_utf8(out, escape.code);
    at = slash + escape.length;
  }
  out.append(body, at, body.size() - at);
  return true;
}

void json_append_string(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  std::size_t from = 0;  // what is not written yet
  std::size_t at = 0;
  const auto flush = [&] { out.append(text, from, at - from); };
  while (at < text.size()) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (is_plain(c)) {
      ++at;
      continue;
    }
    const std::size_t length = c < 0x80 ? 0 : utf8_length(text, at);
    if (length != 0) {
      at += length;
      continue;
    }
    flush();
    if (c == '"')
      out.append("\\\"");
    else if (c == '\\')
      out.append("\\\\");
    else if (c == '\n')
      out.append("\\n");
    else if (c == '\r')
      out.append("\\r");
    else if (c == '\t')
      out.append("\\t");
    else if (c == '\b')
      out.append("\\b");
    else if (c == '\f')
      out.append("\\f");
    else if (c < 0x20)
      out.append({'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]});
    else
      out.append("\xEF\xBF\xBD");
    from = ++at;
  }
  flush();
  out.push_back('"');
}

void json_append_int(std::string& out, std::int64_t value) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}

void json_append_ints(std::string& out, const std::int32_t* values, std::size_t count) {
  out.push_back('[');
  for (std::size_t i = 0; i < count; ++i) {
    if (i != 0) out.push_back(',');
    json_append_int(out, values[i]);
  }
  out.push_back(']');
}

bool json_int(std::string_view number, std::int64_t& out) {
  const char* end = number.data() + number.size();
  const auto result = std::from_chars(number.data(), end, out);
  return result.ec == std::errc() && result.ptr == end;
}

bool json_read_ints(JsonReader& reader, std::vector<std::int32_t>& out) {
  if (!reader.enter_array()) return false;
  while (reader.next_element()) {
    std::int64_t value = 0;
    if (!reader.read_int(value)) return false;
    if (value < std::numeric_limits<std::int32_t>::min() ||
        value > std::numeric_limits<std::int32_t>::max()) {
      return false;
    }
    out.push_back(static_cast<std::int32_t>(value));
  }
  return !reader.failed();
}

}  // namespace hf::wire
