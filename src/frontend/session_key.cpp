#include "frontend/session_key.hpp"

#include <algorithm>
#include <optional>

#include "base/hash.hpp"

namespace hf::frontend {
namespace {

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

std::string_view cookie_value(std::string_view cookies, std::string_view name) {
  while (!cookies.empty()) {
    const auto end = std::min(cookies.find(';'), cookies.size());
    const auto pair = trimmed(cookies.substr(0, end));
    if (const auto equals = pair.find('=');
        pair.substr(0, equals) == name && equals != std::string_view::npos) {
      return trimmed(pair.substr(equals + 1));
    }
    cookies.remove_prefix(std::min(end + 1, cookies.size()));
  }
  return {};
}

std::string_view value_of(const SessionKey& key, const wire::Headers& headers,
                          const engine::ClientRequest* request) {
  switch (key.from) {
    case SessionKey::From::kHeader: return trimmed(headers.find(key.name).value_or(""));
    case SessionKey::From::kCookie:
      return cookie_value(headers.find("cookie").value_or(""), key.name);
    case SessionKey::From::kBody: {
      const auto* field = request != nullptr ? request->find(key.name) : nullptr;
      if (field == nullptr || field->kind == wire::JsonKind::kNull) return {};
      const auto value = request->value_of(*field);
      return value == R"("")" ? std::string_view() : value;
    }
  }
  return {};
}

}  // namespace

Result<SessionKey> parse_session_key(std::string_view text) {
  SessionKey key;
  if (text.starts_with("cookie:")) {
    key.from = SessionKey::From::kCookie;
    text.remove_prefix(7);
  } else if (text.starts_with("body:")) {
    key.from = SessionKey::From::kBody;
    text.remove_prefix(5);
  }
  const auto is_name = [](char c) {
    return c > ' ' && c < 127 && c != ':' && c != ';' && c != '=';
  };
  if (text.empty() || !std::ranges::all_of(text, is_name)) {
    return fail(Code::kBadInput, "'" + std::string(text) +
                                     "' names no session key; give a header's name, cookie:NAME "
                                     "or body:FIELD");
  }
  key.name = text;
  return key;
}

std::uint64_t session_of(const SessionKey& key, const wire::Headers& headers,
                         const engine::ClientRequest* request) {
  const auto value = value_of(key, headers, request);
  if (value.empty()) return 0;
  const auto hash = hash_bytes(value);
  return hash == 0 ? 1 : hash;
}

}  // namespace hf::frontend
