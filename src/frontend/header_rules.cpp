#include "frontend/header_rules.hpp"

#include <algorithm>
#include <span>
#include <string>

namespace hf::frontend {
namespace {

constexpr std::string_view kHopByHop[] = {"connection",
                                          "keep-alive",
                                          "proxy-authenticate",
                                          "proxy-authorization",
                                          "proxy-connection",
                                          "te",
                                          "trailer",
                                          "transfer-encoding",
                                          "upgrade",
                                          "http2-settings"};
constexpr std::string_view kNotToEngine[] = {"host",
                                             "content-length",
                                             "content-type",
                                             "authorization",
                                             "cookie",
                                             "accept-encoding",
                                             "expect",
                                             "x-request-id",
                                             "range",
                                             "if-match",
                                             "if-none-match",
                                             "if-range",
                                             "if-modified-since",
                                             "if-unmodified-since",
                                             "content-encoding"};
constexpr std::string_view kNotToClient[] = {"content-length", "date",       "server",
                                             "x-request-id",   "set-cookie", "content-encoding"};
constexpr std::string_view kOwnPrefix = "x-holdfast-";

bool is_in(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::any_of(names, [name](auto each) { return wire::iequals(each, name); });
}

// Fields that the sender's own Connection names are hop-by-hop too.
bool is_named(std::string_view connection_tokens, std::string_view name) {
  while (!connection_tokens.empty()) {
    const auto comma = std::min(connection_tokens.find(','), connection_tokens.size());
    auto token = connection_tokens.substr(0, comma);
    while (token.starts_with(' ')) token.remove_prefix(1);
    while (token.ends_with(' ')) token.remove_suffix(1);
    if (wire::iequals(name, token)) return true;
    connection_tokens.remove_prefix(std::min(comma + 1, connection_tokens.size()));
  }
  return false;
}

wire::Headers filtered(const wire::Headers& from, std::span<const std::string_view> dropped) {
  wire::Headers headers;
  for (const auto& header : from) {
    if (is_in(kHopByHop, header.name) || is_in(dropped, header.name)) continue;
    if (wire::iequals(std::string_view(header.name).substr(0, kOwnPrefix.size()), kOwnPrefix))
      continue;
    const bool hop = std::ranges::any_of(from, [&](const wire::Header& other) {
      return wire::iequals(other.name, "connection") && is_named(other.value, header.name);
    });
    if (!hop) headers.append(header.name, header.value);
  }
  return headers;
}

}  // namespace

wire::Headers to_engine(const wire::Headers& from, std::string_view content_type, Auth auth) {
  auto headers = filtered(from, kNotToEngine);
  const auto own = from.find("authorization");
  if (auth == Auth::kPassthrough && own && from.count("authorization") == 1) {
    headers.append("Authorization", std::string(*own));
  }
  headers.append("Content-Type", std::string(content_type));
  headers.append("Accept-Encoding", "identity");
  return headers;
}

wire::Headers to_client(const wire::Headers& from) {
  return filtered(from, kNotToClient);
}

}  // namespace hf::frontend
