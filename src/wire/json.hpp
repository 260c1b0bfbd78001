// JSON as bytes: one strict pass that tells where things are.
//
// Events of engines and bodies of clients go on as the bytes that came; what has to be known is
// where a member begins and ends. So this reader builds no tree: it pulls the next key or element,
// and the caller takes the value as text, as number, as span, or steps into it. It accepts exactly
// RFC 8259 in valid UTF-8 (a lone surrogate escape is refused), allocates nothing, and goes at most
// kJsonDepthMax levels deep. After the first error every call fails, so one check at the end is
// enough: `failed()`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hf::wire {

inline constexpr std::size_t kJsonDepthMax = 64;

enum class JsonKind : std::uint8_t {
  kNull,
  kFalse,
  kTrue,
  kNumber,
  kString,
  kArray,
  kObject,
  kBad
};

/// Bytes [begin, end) of the document.
struct JsonSpan {
  std::size_t begin = 0;
  std::size_t end = 0;

  std::size_t size() const { return end - begin; }
  std::string_view of(std::string_view document) const {
    return document.substr(begin, end - begin);
  }
};

/// A key, and what is needed to cut its member out.
struct JsonKey {
  std::string_view raw;      // between the quotes, as written
  bool escaped = false;      // raw holds a backslash: use json_unescape before comparing
  std::size_t begin = 0;     // offset of the opening quote
  std::size_t previous = 0;  // offset after the previous member's value (or after the brace)
};

/// Pulls values out of one document. The cursor always stands before a value (at the start, after
/// next_key and after next_element); each value must be consumed by exactly one of skip, read_* or
/// enter_* before the next is asked for.
class JsonReader {
 public:
  /// `document` must outlive the reader.
  explicit JsonReader(std::string_view document) : text_(document) {}

  /// Kind of the value under the cursor, by its first byte; kBad at the end or on nonsense.
  JsonKind peek();

  /// Consumes the value whole, validating it, and tells where it was.
  JsonSpan skip();

  bool enter_object();
  /// The next key of the object just entered; false after the last (the object is then consumed) or
  /// on error.
  bool next_key(JsonKey& key);

  bool enter_array();
  /// True when the cursor stands before an element; false after the last or on error.
  bool next_element();

  /// Appends the string's text. False, and an error, when the value is no string.
  bool read_string(std::string& out);
  /// A number without fraction or exponent that fits; anything else is an error.
  bool read_int(std::int64_t& out);
  bool read_bool(bool& out);

  /// True when the whole document was consumed and only blanks follow.
  bool at_end();
  bool failed() const { return failed_; }
  /// Offset of the cursor: right after the value consumed last.
  std::size_t offset() const { return at_; }
  std::string_view document() const { return text_; }

 private:
  void blanks();
  bool fail();
  bool scan_string(bool& escaped);
  bool scan_number();
  bool scan_word(std::string_view word);
  bool scan_scalar(JsonKind kind);
  bool push();

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  std::uint64_t first_ = 0;  // bit d: nothing was read yet at depth d + 1
  bool failed_ = false;
};

/// The bytes to remove so that the member vanishes and the object stays valid. `value_end` is
/// offset() after its value; `kept_before` tells whether a member that stays precedes it. Cuts of
/// neighbouring members touch but never overlap.
JsonSpan json_cut(std::string_view document, const JsonKey& key, std::size_t value_end,
                  bool kept_before);

/// Whether `document` is one JSON value and nothing else.
bool json_valid(std::string_view document);

/// Appends the text of a string body (without its quotes); false when it is malformed, `out` is
/// then unspecified. \u escapes become UTF-8; lone surrogates are malformed.
bool json_unescape(std::string_view body, std::string& out);

/// Appends `text` with its quotes, escaped. Bytes that are no UTF-8 become U+FFFD, so that the
/// result is valid whatever comes in.
void json_append_string(std::string& out, std::string_view text);
void json_append_int(std::string& out, std::int64_t value);
/// Appends `[1,2,3]`.
void json_append_ints(std::string& out, const std::int32_t* values, std::size_t count);

/// Strict: the whole of `number` is one integer in range.
bool json_int(std::string_view number, std::int64_t& out);

/// Appends the elements of an array of integers that fit 32 bits; false when it is anything else.
/// The reader's cursor stands before the array.
bool json_read_ints(JsonReader& reader, std::vector<std::int32_t>& out);

}  // namespace hf::wire
