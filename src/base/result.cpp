#include "base/result.hpp"

namespace hf {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::kBadInput: return "bad_input";
    case Code::kTooLarge: return "too_large";
    case Code::kRefused: return "refused";
    case Code::kReset: return "reset";
    case Code::kTimeout: return "timeout";
    case Code::kClosed: return "closed";
    case Code::kCancelled: return "cancelled";
    case Code::kHttpStatus: return "http_status";
    case Code::kProtocol: return "protocol";
    case Code::kUnavailable: return "unavailable";
    case Code::kNotFound: return "not_found";
    case Code::kUnsupported: return "unsupported";
    case Code::kSystem: return "system";
  }
  return "unknown";
}

}  // namespace hf
