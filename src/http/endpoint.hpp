// Where to connect to or listen on: "host:port", "[::1]:port", "http://host:port".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace hf::http {

struct Endpoint {
  std::string host;  // a name or an IP literal, without brackets
  std::uint16_t port = 0;

  /// "host:port", IPv6 in brackets: the pool's key, the Host header, the name in messages.
  std::string to_string() const;
  bool operator==(const Endpoint&) const = default;
};

/// kBadInput unless it is host:port with a port of 0…65535. The host may not be empty.
Result<Endpoint> parse_endpoint(std::string_view text);

struct Url {
  Endpoint endpoint;
  std::string path;  // "" or "/prefix" without a slash at the end
};

/// "http://host[:port][/prefix]"; port 80 when left out. kUnsupported for https, kBadInput
/// otherwise.
Result<Url> parse_url(std::string_view text);

}  // namespace hf::http
