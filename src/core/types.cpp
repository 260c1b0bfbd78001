#include "core/types.hpp"

namespace hf::core {

std::string_view to_string(Mode mode) {
  switch (mode) {
    case Mode::kFirst: return "first";
    case Mode::kRestart: return "restart";
    case Mode::kTokens: return "tokens";
    case Mode::kText: return "text";
  }
  return "unknown";
}

std::string_view to_string(Reason reason) {
  switch (reason) {
    case Reason::kNone: return "none";
    case Reason::kConnect: return "connect";
    case Reason::kReset: return "reset";
    case Reason::kEarlyEnd: return "early_end";
    case Reason::kAbort: return "abort";
    case Reason::kInBandError: return "in_band_error";
    case Reason::kStall: return "stall";
    case Reason::kSlow: return "slow";
    case Reason::kDead: return "dead";
    case Reason::kHttp5xx: return "http_5xx";
    case Reason::kOverloaded: return "overloaded";
    case Reason::kRefused: return "refused";
    case Reason::kProtocol: return "protocol";
  }
  return "unknown";
}

std::string_view to_string(Finish finish) {
  switch (finish) {
    case Finish::kNone: return "";
    case Finish::kStop: return "stop";
    case Finish::kLength: return "length";
    case Finish::kAbort: return "abort";
    case Finish::kError: return "error";
    case Finish::kOther: return "other";
  }
  return "unknown";
}

}  // namespace hf::core
