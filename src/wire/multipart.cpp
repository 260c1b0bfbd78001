#include "wire/multipart.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "wire/http_head.hpp"

namespace hf::wire {
namespace {

constexpr std::size_t kBoundaryMax = 70;  // RFC 2046

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Takes `name=value` or `name="value"` off the front of what follows a ';'. nullopt: malformed.
struct Parameter {
  std::string_view name;
  std::string value;
};
std::optional<Parameter> take_parameter(std::string_view& rest) {
  rest = trimmed(rest);
  const auto equals = rest.find('=');
  if (equals == rest.npos || equals == 0) return std::nullopt;
  Parameter parameter{trimmed(rest.substr(0, equals)), {}};
  if (parameter.name.find_first_of("; \t\"") != parameter.name.npos) return std::nullopt;
  rest.remove_prefix(equals + 1);
  if (rest.starts_with('"')) {
    rest.remove_prefix(1);
    for (;;) {
      if (rest.empty()) return std::nullopt;
      char c = rest.front();
      rest.remove_prefix(1);
      if (c == '"') break;
      // Browsers escape a quote as %22, others as \": only the latter must not end the value.
      if (c == '\\' && rest.starts_with('"')) {
        c = '"';
        rest.remove_prefix(1);
      }
      parameter.value += c;
    }
  } else {
    const auto end = std::min(rest.find(';'), rest.size());
    parameter.value = std::string(trimmed(rest.substr(0, end)));
    rest.remove_prefix(end);
  }
  rest = trimmed(rest);
  if (!rest.empty() && rest.front() != ';') return std::nullopt;
  if (!rest.empty()) rest.remove_prefix(1);
  return parameter;
}

Result<void> read_disposition(std::string_view value, FormPart& part) {
  const auto end = std::min(value.find(';'), value.size());
  if (!iequals(trimmed(value.substr(0, end)), "form-data")) {
    return fail(Code::kBadInput, "a part of the form has a disposition other than form-data");
  }
  auto rest = value.substr(std::min(end + 1, value.size()));
  bool has_name = false;
  while (!trimmed(rest).empty()) {
    auto parameter = take_parameter(rest);
    if (!parameter) return fail(Code::kBadInput, "a part of the form has a broken disposition");
    if (iequals(parameter->name, "name")) {
      if (std::exchange(has_name, true)) {
        return fail(Code::kBadInput, "a part of the form has two names");
      }
      part.name = std::move(parameter->value);
    }
    if (iequals(parameter->name, "filename") || iequals(parameter->name, "filename*")) {
      part.is_file = true;
    }
  }
  return {};
}

Result<void> read_head(std::string_view head, FormPart& part) {
  bool is_told = false;
  while (!head.empty()) {
    const auto end = head.find("\r\n");
    const auto line = head.substr(0, end);
    head = end == head.npos ? std::string_view() : head.substr(end + 2);
    const auto colon = line.find(':');
    if (colon == line.npos) return fail(Code::kBadInput, "a part of the form has a broken header");
    if (!iequals(line.substr(0, colon), "content-disposition")) continue;
    if (std::exchange(is_told, true)) {
      return fail(Code::kBadInput, "a part of the form has two dispositions");
    }
    if (auto read = read_disposition(line.substr(colon + 1), part); !read) return read;
  }
  if (!is_told) return fail(Code::kBadInput, "a part of the form has no Content-Disposition");
  return {};
}

}  // namespace

Result<std::string> multipart_boundary(std::string_view content_type) {
  const auto bad = [] {
    return fail(Code::kBadInput,
                "this endpoint takes a form: Content-Type must be multipart/form-data with a "
                "boundary");
  };
  const auto end = std::min(content_type.find(';'), content_type.size());
  if (!iequals(trimmed(content_type.substr(0, end)), "multipart/form-data")) return bad();
  auto rest = content_type.substr(std::min(end + 1, content_type.size()));
  std::optional<std::string> boundary;
  while (!trimmed(rest).empty()) {
    auto parameter = take_parameter(rest);
    if (!parameter) return bad();
    if (!iequals(parameter->name, "boundary")) continue;
    if (boundary) return bad();
    boundary = std::move(parameter->value);
  }
  if (!boundary || boundary->empty() || boundary->size() > kBoundaryMax) return bad();
  return std::move(*boundary);
}

Result<std::vector<FormPart>> multipart_parts(std::string_view body, std::string_view boundary) {
  const std::string first = "--" + std::string(boundary);
  const std::string delimiter = "\r\n" + first;
  std::vector<FormPart> parts;
  std::size_t at = 0;
  if (body.starts_with(first)) {
    at = first.size();
  } else {
    const auto found = body.find(delimiter);  // after a preamble
    if (found == body.npos) return fail(Code::kBadInput, "the form has no part");
    at = found + delimiter.size();
  }
  for (;;) {
    auto rest = body.substr(at);
    if (rest.starts_with("--")) return parts;
    if (!rest.starts_with("\r\n")) {
      return fail(Code::kBadInput, "the form has something behind a boundary");
    }
    if (parts.size() == kPartsMax) {
      return fail(Code::kTooLarge,
                  "the form has more than " + std::to_string(kPartsMax) + " parts");
    }
    rest.remove_prefix(2);
    const auto blank = rest.substr(0, kPartHeadBytesMax).find("\r\n\r\n");
    if (blank == rest.npos) return fail(Code::kBadInput, "a part of the form has no blank line");
    const auto content = rest.substr(blank + 4);
    // From the blank line's own CRLF on: an empty content has none of its own before the boundary.
    const auto found = rest.find(delimiter, blank + 2);
    if (found == rest.npos) return fail(Code::kBadInput, "the form ends without its last boundary");
    FormPart part;
    part.content = content.substr(0, found < blank + 4 ? 0 : found - (blank + 4));
    if (auto read = read_head(rest.substr(0, blank), part); !read) {
      return std::unexpected(read.error());
    }
    parts.push_back(std::move(part));
    at = static_cast<std::size_t>(rest.data() - body.data()) + found + delimiter.size();
  }
}

}  // namespace hf::wire
