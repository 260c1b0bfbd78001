// multipart/form-data (RFC 7578): where the parts of a body are. Nothing is copied or decoded.
//
// Strict, since the body goes on to an engine as it came: what two readers could understand in two
// ways is refused.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace hf::wire {

/// At most so many parts, and so many bytes of headers in each; more is kTooLarge.
inline constexpr std::size_t kPartsMax = 128;
inline constexpr std::size_t kPartHeadBytesMax = 8UL * 1024;

struct FormPart {
  std::string name;          // of Content-Disposition, unquoted; empty: it has none
  bool is_file = false;      // it has a filename
  std::string_view content;  // in the body
};

/// The boundary of a Content-Type's value, quotes taken off; kBadInput unless it is
/// multipart/form-data with a boundary of 1…70 characters.
Result<std::string> multipart_boundary(std::string_view content_type);

/// All parts of a whole body, in order. kBadInput when the last delimiter or a part's blank line is
/// missing, or a part has no form-data disposition. Views live as long as `body`.
Result<std::vector<FormPart>> multipart_parts(std::string_view body, std::string_view boundary);

}  // namespace hf::wire
