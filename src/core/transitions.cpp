#include "core/transitions.hpp"

#include "core/request_machine.hpp"

namespace hf::core {
namespace {
using Request = RequestMachine::State;
using Worker = WorkerState;
}  // namespace

constinit TransitionTable request_transitions(
    "request", [](std::uint8_t state) { return to_string(static_cast<Request>(state)); },
    {
        {Request::kNew, Request::kWaiting},
        {Request::kWaiting, Request::kPreparing},  // a worker for its ids: questions first
        {Request::kWaiting, Request::kRunning},    // a worker
        {Request::kWaiting, Request::kDone},       // nobody in time, or nobody wants it any more
        {Request::kPreparing, Request::kRunning},  // the resume is opened
        {Request::kPreparing, Request::kWaiting},  // that worker cannot
        {Request::kPreparing, Request::kDone},     // everything was generated before the break
        {Request::kRunning, Request::kRunning},    // the same worker is asked in another way
        {Request::kRunning, Request::kWaiting},    // its attempt failed
        {Request::kRunning, Request::kPreparing},  // and its hedge is still being prepared
        {Request::kRunning, Request::kFinishing},  // the finish reason
        {Request::kRunning, Request::kDone},       // a whole answer, an error, a cancel
        {Request::kFinishing, Request::kRunning},  // a whole body hides something at its end
        {Request::kFinishing, Request::kWaiting},  // lost before it was known to be whole
        {Request::kFinishing, Request::kDone},
    });

constinit TransitionTable worker_transitions(
    "worker", [](std::uint8_t state) { return to_string(static_cast<Worker>(state)); },
    {
        {Worker::kStarting, Worker::kReady},
        {Worker::kStarting, Worker::kDead},
        {Worker::kReady, Worker::kSuspect},
        {Worker::kReady, Worker::kSlow},
        {Worker::kReady, Worker::kEjected},
        {Worker::kReady, Worker::kDead},
        {Worker::kSuspect, Worker::kReady},
        {Worker::kSuspect, Worker::kSlow},  // slow before, and moving again
        {Worker::kSuspect, Worker::kEjected},
        {Worker::kSuspect, Worker::kDead},
        {Worker::kSlow, Worker::kReady},
        {Worker::kSlow, Worker::kSuspect},
        {Worker::kSlow, Worker::kEjected},
        {Worker::kSlow, Worker::kDead},
        {Worker::kEjected, Worker::kReady},
        {Worker::kEjected, Worker::kSlow},  // slow before
        {Worker::kEjected, Worker::kDead},
        {Worker::kDead, Worker::kReady},
    });

constinit TransitionTable breaker_transitions("breaker",
                                              [](std::uint8_t open) -> std::string_view {
                                                return open != 0 ? "open" : "closed";
                                              },
                                              {
                                                  {false, true},
                                                  {true, true},  // half-open, and its probe failed
                                                  {true, false},
                                              });

constinit TransitionTable pace_transitions("pace",
                                           [](std::uint8_t slow) -> std::string_view {
                                             return slow != 0 ? "slow" : "as others";
                                           },
                                           {
                                               {false, true},
                                               {true, false},
                                           });

std::span<TransitionTable* const> transition_tables() {
  static constexpr TransitionTable* kAll[] = {&request_transitions, &worker_transitions,
                                              &breaker_transitions, &pace_transitions};
  return kAll;
}

std::vector<std::string> TransitionTable::names(std::uint64_t edges) const {
  std::vector<std::string> found;
  for (std::uint8_t from = 0; from < 8; ++from) {
    for (std::uint8_t to = 0; to < 8; ++to) {
      if ((edges & bit(from, to)) == 0) continue;
      found.push_back(std::string(name_(from)) + " -> " + std::string(name_(to)));
    }
  }
  return found;
}

}  // namespace hf::core
