// HTTP/1 message heads: bytes to a checked struct. The only user of Beast's parser.
//
// Both parsers are strict where leniency lets two readers of the same bytes disagree on where a
// message ends (request smuggling): one framing only, CRLF only, no folded lines. They hold no
// state: call again with more bytes at the end of the same buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace hf::wire {

/// More fields than this in one head are kTooLarge: 64 KiB would hold 16,000 of them.
inline constexpr std::size_t kHeaderFieldsMax = 256;

struct Header {
  std::string name;  // as it came; compared without case
  std::string value;
};

/// ASCII without case, as field names and most protocol words are compared.
bool iequals(std::string_view a, std::string_view b);

/// The fields of a head in their order. Names may repeat.
class Headers {
 public:
  /// The first field of that name. The view lives as long as the field.
  std::optional<std::string_view> find(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  /// Removes every field of that name; tells how many there were.
  std::size_t erase(std::string_view name);
  /// Takes name and value as they are: the caller vouches that they hold no CR, LF or NUL.
  void append(std::string name, std::string value);
  /// Replaces every field of that name by one.
  void set(std::string_view name, std::string value);

  const std::vector<Header>& all() const { return fields_; }
  std::size_t size() const { return fields_.size(); }
  bool empty() const { return fields_.empty(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<Header> fields_;
};

struct RequestHead {
  std::string method;  // as it came, a token ("GET")
  std::string target;  // as it came: "/path?query", "http://host/path", "*" (OPTIONS only)
  int version_minor = 1;
  Headers headers;
  std::optional<std::uint64_t> content_length;  // bytes; never together with chunked
  bool chunked = false;
  bool keep_alive = true;         // false for HTTP/1.0 and "Connection: close"
  bool expects_continue = false;  // "Expect: 100-continue" on HTTP/1.1

  bool has_body() const { return chunked || content_length.value_or(0) > 0; }
  /// The target's path without scheme, authority and query: "/v1/models".
  std::string_view path() const;
  /// What follows the first '?', or empty.
  std::string_view query() const;
};

struct ResponseHead {
  int status = 0;  // 100…599
  std::string reason;
  int version_minor = 1;
  Headers headers;
  std::optional<std::uint64_t> content_length;  // bytes; never together with chunked
  bool chunked = false;
  bool keep_alive = true;  // false too where only the end of the connection ends the body
  bool bodyless = false;   // 1xx, 204, 304: no body follows, whatever the fields say

  bool is_interim() const { return status < 200; }
  /// The body runs until the peer closes. (The answer to HEAD has none: the caller knows.)
  bool body_until_close() const { return !bodyless && !chunked && !content_length; }
};

template <class T>
struct Parsed {
  T head;
  std::size_t size = 0;  // bytes of the head with its blank line; the body starts there
};

/// The request head at the start of `buf`, or nullopt if it is not whole yet.
/// One empty line before it is skipped (RFC 9112 §2.2) and counted in `size`.
/// Bounds: a head over `bytes_max` bytes or kHeaderFieldsMax fields is kTooLarge.
/// Errors: kBadInput, `detail` names what is wrong. Told as soon as the bytes show it.
/// Refused: Content-Length together with Transfer-Encoding, either of them twice, a list of
/// lengths, an encoding other than "chunked", Transfer-Encoding on HTTP/1.0, a line that ends in a
/// bare LF, folded lines, whitespace before a colon, control characters, versions but 1.0 and 1.1,
/// no or several Host fields (1.1), targets with dot segments, fragments, backslashes, bad escapes
/// or bytes over 0x7e, and CONNECT.
Result<std::optional<Parsed<RequestHead>>> parse_request_head(std::string_view buf,
                                                              std::size_t bytes_max);

/// The same for a response; errors are kProtocol and kTooLarge. Heads of 1xx are returned as they
/// are: the caller goes on to the next one.
Result<std::optional<Parsed<ResponseHead>>> parse_response_head(std::string_view buf,
                                                                std::size_t bytes_max);

}  // namespace hf::wire
