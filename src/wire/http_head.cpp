#include "wire/http_head.hpp"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <charconv>
#include <limits>
#include <utility>

namespace hf::wire {

namespace {

namespace beast_http = boost::beast::http;
using BeastError = boost::beast::error_code;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f');
}

/// Printable, for people: what a peer sent may hold anything.
std::string quoted(std::string_view text) {
  constexpr std::size_t kMax = 64;
  std::string out = "\"";
  for (char c : text.substr(0, kMax)) out += (c >= ' ' && c <= '~' && c != '"') ? c : '?';
  if (text.size() > kMax) out += "…";
  return out += '"';
}

/// Collects what Beast's grammar found. Everything that is a matter of policy is checked after.
template <bool is_request>
class HeadParser : public beast_http::basic_parser<is_request> {
 public:
  HeadParser() {
    // Beast's own limits are off: the head was measured before, the body is none of its business.
    this->header_limit(std::numeric_limits<std::uint32_t>::max());
    this->body_limit(boost::none);
  }

  std::string method;
  std::string target;
  std::string reason;
  int status = 0;
  int version = 11;
  Headers headers;
  bool has_too_many_fields = false;
  std::string last_name;  // where an error is

 private:
  using View = boost::beast::string_view;
  static std::string str(View v) { return std::string(v.data(), v.size()); }

  void on_request_impl(beast_http::verb, View method_name, View target_text, int version_number,
                       BeastError&) override {
    method = str(method_name);
    target = str(target_text);
    version = version_number;
  }
  void on_response_impl(int code, View reason_text, int version_number, BeastError&) override {
    status = code;
    reason = str(reason_text);
    version = version_number;
  }
  void on_field_impl(beast_http::field, View name, View value, BeastError& ec) override {
    if (headers.size() == kHeaderFieldsMax) {
      has_too_many_fields = true;
      ec = beast_http::error::header_limit;
      return;
    }
    last_name = str(name);
    headers.append(last_name, str(value));
  }
  void on_header_impl(BeastError&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, BeastError&) override {}
  std::size_t on_body_impl(View body, BeastError&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, View, BeastError&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, View body, BeastError&) override {
    return body.size();
  }
  void on_finish_impl(BeastError&) override {}
};

std::unexpected<Error> too_large(std::size_t bytes_max) {
  return fail(Code::kTooLarge, "head of more than " + std::to_string(bytes_max) + " bytes");
}

/// Bytes of the head at the start of `buf`, or nullopt until its blank line is there. Looks at
/// line ends and folds only, which is what makes the end of a head a matter of opinion elsewhere.
Result<std::optional<std::size_t>> find_head(std::string_view buf, std::size_t start,
                                             std::size_t bytes_max, Code code) {
  const std::string_view seen = buf.substr(0, bytes_max);
  std::size_t line = start;
  while (line < seen.size()) {
    if (line != start && (seen[line] == ' ' || seen[line] == '\t')) {
      return fail(code, "folded header line (obs-fold)");
    }
    const std::size_t lf = seen.find('\n', line);
    if (lf == std::string_view::npos) break;
    if (lf == line || seen[lf - 1] != '\r') return fail(code, "line that ends in a bare LF");
    if (lf == line + 1) {
      if (line == start) return fail(code, "empty line where a head was due");
      return lf + 1;
    }
    line = lf + 1;
  }
  if (buf.size() >= bytes_max) return too_large(bytes_max);
  return std::nullopt;
}

/// Runs Beast over exactly the head. `what` is "request" or "response".
template <bool is_request>
Result<void> parse_with_beast(HeadParser<is_request>& parser, std::string_view head, Code code) {
  BeastError ec;
  const std::size_t used = parser.put(boost::asio::const_buffer(head.data(), head.size()), ec);
  if (parser.has_too_many_fields) {
    return fail(Code::kTooLarge,
                "more than " + std::to_string(kHeaderFieldsMax) + " header fields");
  }
  if (!ec && parser.is_header_done() && used == head.size()) return {};
  std::string detail = ec ? ec.message() : "head ends before its blank line";
  if (!parser.last_name.empty()) detail += ", at or after field " + quoted(parser.last_name);
  return fail(code, std::move(detail));
}

struct Framing {
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
};

/// One unambiguous way to tell where the body ends, or an error.
Result<Framing> check_framing(const Headers& headers, int version, Code code) {
  const std::size_t lengths = headers.count("content-length");
  const std::size_t encodings = headers.count("transfer-encoding");
  if (lengths > 0 && encodings > 0) {
    return fail(code, "both Content-Length and Transfer-Encoding");
  }
  if (lengths > 1) return fail(code, "several Content-Length fields");
  if (encodings > 1) return fail(code, "several Transfer-Encoding fields");
  Framing framing;
  if (encodings == 1) {
    const std::string_view value = *headers.find("transfer-encoding");
    if (version < 11) return fail(code, "Transfer-Encoding on HTTP/1.0");
    if (!iequals(value, "chunked")) {
      return fail(code, "Transfer-Encoding other than chunked: " + quoted(value));
    }
    framing.chunked = true;
  }
  if (lengths == 1) {
    const std::string_view value = *headers.find("content-length");
    const char* end = value.data() + value.size();
    std::uint64_t n = 0;
    const auto [stop, ec] = std::from_chars(value.data(), end, n);
    if (ec != std::errc() || stop != end) {
      return fail(code, "Content-Length that is no number: " + quoted(value));
    }
    framing.content_length = n;
  }
  return framing;
}

bool is_dot_segment(std::string_view segment) {
  std::size_t dots = 0;
  while (!segment.empty()) {
    if (segment.front() == '.') {
      segment.remove_prefix(1);
    } else if (segment.size() >= 3 && segment[0] == '%' && segment[1] == '2' &&
               lower(segment[2]) == 'e') {
      segment.remove_prefix(3);
    } else {
      return false;
    }
    ++dots;
  }
  return dots == 1 || dots == 2;
}

bool has_dot_segment(std::string_view path) {
  for (;;) {
    const std::size_t slash = path.find('/');
    if (is_dot_segment(path.substr(0, slash))) return true;
    if (slash == std::string_view::npos) return false;
    path.remove_prefix(slash + 1);
  }
}

/// Offset of the path in an absolute target, 0 in any other.
std::size_t authority_end(std::string_view target) {
  for (std::string_view scheme : {"http://", "https://"}) {
    if (target.size() < scheme.size() || !iequals(target.substr(0, scheme.size()), scheme)) {
      continue;
    }
    return std::min(target.find_first_of("/?", scheme.size()), target.size());
  }
  return 0;
}

Result<void> check_target(const RequestHead& head) {
  const std::string_view target = head.target;
  for (std::size_t i = 0; i < target.size(); ++i) {
    const char c = target[i];
    if (c < '!' || c > '~' || c == '#' || c == '\\' || c == '"' || c == '<' || c == '>') {
      return fail(Code::kBadInput, "character not allowed in target " + quoted(target));
    }
    if (c == '%' && !(i + 2 < target.size() && is_hex(target[i + 1]) && is_hex(target[i + 2]))) {
      return fail(Code::kBadInput, "bad escape in target " + quoted(target));
    }
  }
  if (target == "*") {
    if (head.method == "OPTIONS") return {};
    return fail(Code::kBadInput, "target \"*\" with " + quoted(head.method));
  }
  const std::size_t path_at = authority_end(target);
  const bool is_absolute = path_at > 0;
  if (!is_absolute && target.front() != '/') {
    return fail(Code::kBadInput, "target that is no path: " + quoted(target));
  }
  if (is_absolute && target[path_at - 1] == '/') {
    return fail(Code::kBadInput, "target without a host: " + quoted(target));
  }
  if (has_dot_segment(head.path())) {
    return fail(Code::kBadInput, "dot segment in target " + quoted(target));
  }
  return {};
}

Result<void> check_request(const RequestHead& head) {
  if (head.method == "CONNECT") return fail(Code::kBadInput, "method CONNECT");
  const std::size_t hosts = head.headers.count("host");
  if (hosts > 1) return fail(Code::kBadInput, "several Host fields");
  if (hosts == 0 && head.version_minor == 1) return fail(Code::kBadInput, "no Host field");
  return check_target(head);
}

}  // namespace

bool iequals(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return lower(x) == lower(y); });
}

std::optional<std::string_view> Headers::find(std::string_view name) const {
  for (const Header& field : fields_) {
    if (iequals(field.name, name)) return field.value;
  }
  return std::nullopt;
}

std::size_t Headers::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(
      fields_.begin(), fields_.end(), [&](const Header& f) { return iequals(f.name, name); }));
}

std::size_t Headers::erase(std::string_view name) {
  return std::erase_if(fields_, [&](const Header& f) { return iequals(f.name, name); });
}

void Headers::append(std::string name, std::string value) {
  fields_.push_back({std::move(name), std::move(value)});
}

void Headers::set(std::string_view name, std::string value) {
  erase(name);
  append(std::string(name), std::move(value));
}

std::string_view RequestHead::path() const {
  const std::size_t start = authority_end(target);
  const std::string_view rest = std::string_view(target).substr(start);
  const std::string_view path = rest.substr(0, rest.find('?'));
  return path.empty() && start > 0 ? std::string_view("/") : path;
}

std::string_view RequestHead::query() const {
  const std::size_t mark = target.find('?');
  return mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
}

Result<std::optional<Parsed<RequestHead>>> parse_request_head(std::string_view buf,
                                                              std::size_t bytes_max) {
  const std::size_t start = buf.starts_with("\r\n") ? 2 : 0;
  if (start < buf.size() && buf != "\r" && (buf[start] < '!' || buf[start] > '~')) {
    // At once: waiting for the end of what is no line ends in a timeout that explains nothing.
    return fail(Code::kBadInput, "not HTTP/1 (TLS on a plain port?)");
  }
  const auto size = find_head(buf, start, bytes_max, Code::kBadInput);
  if (!size) return std::unexpected(size.error());
  if (!*size) return std::nullopt;

  HeadParser<true> parser;
  const auto parsed = parse_with_beast(parser, buf.substr(start, **size - start), Code::kBadInput);
  if (!parsed) return std::unexpected(parsed.error());
  const auto framing = check_framing(parser.headers, parser.version, Code::kBadInput);
  if (!framing) return std::unexpected(framing.error());

  Parsed<RequestHead> out;
  out.size = **size;
  RequestHead& head = out.head;
  head.method = std::move(parser.method);
  head.target = std::move(parser.target);
  head.version_minor = parser.version - 10;
  head.headers = std::move(parser.headers);
  head.content_length = framing->content_length;
  head.chunked = framing->chunked;
  head.keep_alive = head.version_minor == 1 && parser.keep_alive();
  const auto expect = head.headers.find("expect");
  head.expects_continue = head.version_minor == 1 && expect && iequals(*expect, "100-continue");
  const auto checked = check_request(head);
  if (!checked) return std::unexpected(checked.error());
  return out;
}

Result<std::optional<Parsed<ResponseHead>>> parse_response_head(std::string_view buf,
                                                                std::size_t bytes_max) {
  const auto size = find_head(buf, 0, bytes_max, Code::kProtocol);
  if (!size) return std::unexpected(size.error());
  if (!*size) return std::nullopt;

  HeadParser<false> parser;
  const auto parsed = parse_with_beast(parser, buf.substr(0, **size), Code::kProtocol);
  if (!parsed) return std::unexpected(parsed.error());
  const auto framing = check_framing(parser.headers, parser.version, Code::kProtocol);
  if (!framing) return std::unexpected(framing.error());
  if (parser.status < 100 || parser.status > 599) {
    return fail(Code::kProtocol, "status " + std::to_string(parser.status));
  }

  Parsed<ResponseHead> out;
  out.size = **size;
  ResponseHead& head = out.head;
  head.status = parser.status;
  head.reason = std::move(parser.reason);
  head.version_minor = parser.version - 10;
  head.headers = std::move(parser.headers);
  head.content_length = framing->content_length;
  head.chunked = framing->chunked;
  head.bodyless = head.status < 200 || head.status == 204 || head.status == 304;
  // A peer that announces a body where none may be might send it: don't read a next answer there.
  const bool announces_body =
      head.status != 304 && head.bodyless && (head.chunked || head.content_length.value_or(0) > 0);
  head.keep_alive =
      head.version_minor == 1 && parser.keep_alive() && !head.body_until_close() && !announces_body;
  return out;
}

}  // namespace hf::wire
