// SIGTERM, SIGINT and friends as something a coroutine waits for.
#pragma once

#include <boost/asio/basic_signal_set.hpp>
#include <initializer_list>

#include "net/core.hpp"

namespace hf::net {

/// While it lives, the given signals no longer end the process; they queue up for wait().
class ProcessSignals {
 public:
  ProcessSignals(Core& core, std::initializer_list<int> numbers);

  /// The number of the next signal; 0 when cancel() was called.
  Task<int> wait();
  void cancel();

 private:
  asio::basic_signal_set<Executor> set_;
};

/// Ignores SIGPIPE in this process: writes to gone peers give an error instead. Call first in main.
void ignore_sigpipe();

}  // namespace hf::net
