// Which session a request belongs to, by a header, a cookie or a field of its body.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "engine/request.hpp"
#include "wire/http_head.hpp"

namespace hf::frontend {

struct SessionKey {
  enum class From : std::uint8_t { kHeader, kCookie, kBody };
  From from = From::kHeader;
  std::string name = "x-user-id";
};

/// `NAME` (a header), `cookie:NAME` or `body:FIELD`.
Result<SessionKey> parse_session_key(std::string_view text);

/// The hash of the request's session; 0: it has none. `request` is null where the body was not
/// read.
std::uint64_t session_of(const SessionKey& key, const wire::Headers& headers,
                         const engine::ClientRequest* request);

}  // namespace hf::frontend
