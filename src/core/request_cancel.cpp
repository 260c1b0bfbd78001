// The end that somebody else wants: the operator (stop, kill).
#include "core/request_machine.hpp"

namespace hf::core {

void RequestMachine::on_cancel(Instant now, CancelMode mode) {
  if (is_done()) return;
  // A whole answer has a part to keep where it is assembled from a stream.
  const bool is_text = spec_.stream || !sent_text_.empty();
  const bool may_stop = mode == CancelMode::kStop && is_text && !spec_.relayed;
  if (may_stop && state_ == State::kFinishing) {
    complete(now);  // the finish reason was sent: nothing is taken back
    return;
  }
  migrating_ = false;  // it did not fail to go on
  if (may_stop && sent_anything_ && !opaque_sent_) {
    // Text that waits for the rest of a stop string stays back: the whole answer may be without it.
    finish_with(now, Finish::kStop, {});
    return;
  }
  fail(client_error(ErrorKind::kCancelled,
                    "This request was cancelled by the operator of the server."));
}

std::string_view RequestMachine::phase() const {
  switch (state_) {
    case State::kNew: return "queue";
    case State::kWaiting: return sent_anything_ ? "resume" : "queue";
    case State::kPreparing: return "resume";
    case State::kRunning:
      if (owner_ && owner_->got_token) return "decode";
      return sent_text_.empty() ? "prefill" : "resume";
    case State::kFinishing: return "decode";
    case State::kDone: return "done";
  }
  return "unknown";
}

}  // namespace hf::core
