// How a request machine shows itself, and where its changes of state are told.
#include "core/request_machine.hpp"
#include "core/transitions.hpp"

namespace hf::core {

std::string_view to_string(RequestMachine::State state) {
  switch (state) {
    case RequestMachine::State::kNew: return "new";
    case RequestMachine::State::kWaiting: return "waiting";
    case RequestMachine::State::kPreparing: return "preparing";
    case RequestMachine::State::kRunning: return "running";
    case RequestMachine::State::kFinishing: return "finishing";
    case RequestMachine::State::kDone: return "done";
  }
  return "unknown";
}

void RequestMachine::become(State state) {
  request_transitions.note(state_, state);
  state_ = state;
}

std::size_t RequestMachine::memory_bytes() const {
  return ledger_.memory_bytes() + sent_text_.capacity() +
         spec_.prompt_ids.capacity() * sizeof(TokenId);
}

std::string RequestMachine::describe() const {
  std::string line = "RequestMachine{st=" + std::string(to_string(state_)) +
                     " att=" + std::to_string(record_.attempts) +
                     " tok=" + std::to_string(ledger_.size()) +
                     " text=" + std::to_string(sent_text_.size());
  if (owner_) line += " owner=" + std::to_string(owner_->id) + "@" + std::to_string(owner_->worker);
  if (hedge_) line += " hedge=" + std::to_string(hedge_->id) + "@" + std::to_string(hedge_->worker);
  if (rebuilt_) line += " rebuilt";
  if (tokens_off_ || !ledger_.intact()) line += " no-tokens";
  return line + "}";
}

}  // namespace hf::core
