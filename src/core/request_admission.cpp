// What a new request is let in for: a model that somebody serves, and a place in the queue.
#include <algorithm>
#include <utility>

#include "core/planted.hpp"
#include "core/request_machine.hpp"

namespace hf::core {

bool RequestMachine::is_known_model() const {
  return core_.view->known_model(spec_.model) ||
         std::ranges::any_of(spec_.fallback, [this](const std::string& model) {
           return core_.view->known_model(model);
         });
}

// Only what nothing was sent of: a started stream waits under a limit of its own.
void RequestMachine::stand_in_queue(Instant now, bool was_admitted) {
  auto* queue = core_.admission;
  if (queued_ || sent_anything_) return;
  if (queue != nullptr && was_admitted) queue->enter_again(spec_.body_bytes);
  if (queue != nullptr && !was_admitted &&
      !queue->enter(spec_.body_bytes, options_.queue_max, options_.queue_bytes_max)) {
    fail(client_error(ErrorKind::kQueueFull,
                      "No worker for model `" + spec_.model +
                          "` can take this request now and no more may wait; try again later.",
                      queue->retry_after(now)));
    return;
  }
  queued_ = true;
}

void RequestMachine::leave_queue() {
  if (!std::exchange(queued_, false) || core_.admission == nullptr) return;
  if (!is_planted(Planted::kQueueSlotLeaked)) core_.admission->leave(spec_.body_bytes);
}

}  // namespace hf::core
