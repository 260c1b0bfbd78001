// Which header fields go on from a client to an engine, and back.
#pragma once

#include <string_view>

#include "frontend/options.hpp"
#include "wire/http_head.hpp"

namespace hf::frontend {

/// What an engine gets of a client's fields: end-to-end ones, without credentials (Cookie,
/// and Authorization unless `auth` is passthrough), without what we say ourselves (Content-Type,
/// Accept-Encoding: identity, X-Request-Id), without x-holdfast-*, and without those that ask for
/// less than the whole answer (Range, If-*).
wire::Headers to_engine(const wire::Headers& from, std::string_view content_type,
                        Auth auth = Auth::kNone);

/// What a client gets of an engine's fields: end-to-end ones, without framing, Date and Server
/// (ours), X-Request-Id (ours), x-holdfast-*, and Set-Cookie (it would speak for one worker).
wire::Headers to_client(const wire::Headers& from);

}  // namespace hf::frontend
