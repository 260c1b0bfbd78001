// One whole request and answer: probes, tokenizer calls, metrics.
#pragma once

#include <cstddef>
#include <string>

#include "base/result.hpp"
#include "base/time.hpp"
#include "http/endpoint.hpp"
#include "http/message.hpp"
#include "http/pool.hpp"

namespace hf::http {

struct FetchRequest {
  std::string method = "GET";
  std::string target = "/";
  wire::Headers headers;  // not Host, Content-Length, Connection
  std::string body;
};

/// Sends `request` and returns the whole answer, whatever its status. kRefused, kReset, kTimeout
/// (`deadline`), kTooLarge (body over `body_bytes_max`), kProtocol. Tried once more on a new
/// connection when a reused one ended before any byte of the answer. `pool` must outlive the call.
/// Redirects are not followed.
net::Task<Result<Response>> fetch(Pool& pool, Endpoint endpoint, FetchRequest request,
                                  Instant deadline, std::size_t body_bytes_max);

}  // namespace hf::http
