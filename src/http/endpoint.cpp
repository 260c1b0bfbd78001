#include "http/endpoint.hpp"

#include <charconv>

namespace hf::http {
namespace {

Result<std::uint16_t> parse_port(std::string_view text, std::string_view whole) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return fail(Code::kBadInput,
                "\"" + std::string(whole) + "\" has no port of 0 to 65535 after the last ':'");
  }
  return port;
}

bool is_host(std::string_view host) {
  if (host.empty()) return false;
  for (const char c : host) {
    if (c <= ' ' || c >= 0x7f || c == '/' || c == '@' || c == '[' || c == ']' || c == '?' ||
        c == '#' || c == '\\') {
      return false;
    }
  }
  return true;
}

}  // namespace

std::string Endpoint::to_string() const {
  const bool is_v6 = host.find(':') != std::string::npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  std::string_view host;
  std::string_view port;
  if (!text.empty() && text.front() == '[') {
    const auto close = text.find("]:");
    if (close == std::string_view::npos) {
      return fail(Code::kBadInput, "\"" + std::string(text) + "\" is not [address]:port");
    }
    host = text.substr(1, close - 1);
    port = text.substr(close + 2);
  } else {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) {
      return fail(Code::kBadInput, "\"" + std::string(text) + "\" is not host:port");
    }
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (host.find(':') != std::string_view::npos) {
      return fail(Code::kBadInput, "\"" + std::string(text) +
                                       "\" is ambiguous; write IPv6 addresses as [address]:port");
    }
  }
  if (!is_host(host)) {
    return fail(Code::kBadInput, "\"" + std::string(text) + "\" has no host before the port");
  }
  auto number = parse_port(port, text);
  if (!number) return std::unexpected(number.error());
  Endpoint endpoint;
  endpoint.host = std::string(host);
  endpoint.port = *number;
  return endpoint;
}

Result<Url> parse_url(std::string_view text) {
  constexpr std::string_view kScheme = "http://";
  if (text.starts_with("https://")) {
    return fail(Code::kUnsupported,
                "\"" + std::string(text) + "\": https to engines is not supported yet; use http");
  }
  if (!text.starts_with(kScheme)) {
    return fail(Code::kBadInput, "\"" + std::string(text) + "\" is not http://host:port");
  }
  std::string_view rest = text.substr(kScheme.size());
  const auto slash = rest.find('/');
  std::string authority(rest.substr(0, slash));
  std::string path(slash == std::string_view::npos ? "" : rest.substr(slash));
  while (!path.empty() && path.back() == '/') path.pop_back();
  if (path.find_first_of("?#") != std::string::npos) {
    return fail(Code::kBadInput, "\"" + std::string(text) + "\" may not have a query or fragment");
  }
  const bool has_port = authority.starts_with('[') ? authority.find("]:") != std::string::npos
                                                   : authority.find(':') != std::string::npos;
  if (!has_port) authority += ":80";
  auto endpoint = parse_endpoint(authority);
  if (!endpoint) return std::unexpected(endpoint.error());
  Url url;
  url.endpoint = std::move(*endpoint);
  url.path = std::move(path);
  return url;
}

}  // namespace hf::http
