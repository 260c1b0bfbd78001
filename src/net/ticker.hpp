// Ticker: a coarse periodic call, which also tells how late the loop is.
#pragma once

#include <functional>
#include <memory>

#include "base/time.hpp"
#include "net/core.hpp"

namespace hf::net {

/// Calls `fn(now, lag)` on the core every `period`; `lag` is how late this call is (0 when in
/// time). After a lag the missed calls are left out, the next is `period` later. When the loop was
/// held up, Asio hands out what the sockets received (up to 128 of them) before this call.
/// Destruction or stop() ends it at once, also from within `fn`. Core thread only.
class Ticker {
 public:
  using Function = std::function<void(Instant now, Duration lag)>;
  Ticker(Core& core, Duration period, Function fn);
  ~Ticker() { stop(); }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  void stop();

 private:
  struct State;
  static Task<void> run(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace hf::net
