// What must be known of a request whose body goes on to an engine unread: its model, and whether it
// may be sent twice. Endpoints other than chat and completions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace hf::engine {

enum class BodyForm : std::uint8_t { kJson, kMultipart };

struct RelayedRequest {
  std::string model;        // empty: not given
  bool background = false;  // a job is started and the answer comes before it ends
};

/// Reads a body of any bytes. As engines do, the last member of a JSON object counts if a name
/// comes twice; a form with two parts `model` is refused. Errors (kBadInput, kTooLarge) are the
/// client's: their detail fits the message of an OpenAI 400.
Result<RelayedRequest> scan_relayed(BodyForm form, std::string_view content_type,
                                    std::string_view body);

}  // namespace hf::engine
