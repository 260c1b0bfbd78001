#include "net/process_signals.hpp"

#include <csignal>

namespace hf::net {

ProcessSignals::ProcessSignals(Core& core, std::initializer_list<int> numbers)
    : set_(core.executor()) {
  for (const int number : numbers) {
    boost::system::error_code ignored;
    set_.add(number, ignored);
  }
}

Task<int> ProcessSignals::wait() {
  const auto [error, number] = co_await set_.async_wait(tok);
  co_return error ? 0 : number;
}

void ProcessSignals::cancel() {
  boost::system::error_code ignored;
  set_.cancel(ignored);
}

void ignore_sigpipe() {
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace hf::net
