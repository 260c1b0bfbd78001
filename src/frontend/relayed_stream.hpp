// An event stream that is passed on: whether it ended as its protocol says, and how an error is
// told in it. It reads names and counts events, no more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/request_machine.hpp"
#include "frontend/routes.hpp"
#include "wire/sse.hpp"

namespace hf::frontend {

class RelayedStream {
 public:
  RelayedStream(StreamForm form, std::string model) : form_(form), model_(std::move(model)) {}

  /// Each event, in order.
  void saw(const wire::SseEvent& event);
  /// A clean end now would be the end of a whole answer (or of an error that the engine told).
  bool is_whole() const { return form_ == StreamForm::kOpenAi ? events_ > 0 : ended_; }
  /// One event that ends the stream in its protocol's own form.
  std::string error_event(const core::ClientError& error) const;

 private:
  StreamForm form_;
  std::string model_;
  std::string response_id_;  // of the first event that tells one
  std::uint64_t events_ = 0;
  bool ended_ = false;
};

}  // namespace hf::frontend
