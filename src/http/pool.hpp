// Idle connections to engines, per core.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "http/client_connection.hpp"
#include "net/core.hpp"
#include "net/ticker.hpp"

namespace hf::http {

struct PoolLimits {
  Duration idle_max = std::chrono::seconds(4);  // engines close idle connections after 5 s
  std::size_t idle_per_endpoint_max = 256;
};

/// Core only. The last one given back is the first one taken.
class Pool {
 public:
  struct Taken {
    ClientConnection connection;
    bool reused;  // true: connected, and may turn out to have been closed just now;
                  // false: the caller connects it
  };

  explicit Pool(net::Core& core, PoolLimits limits = {});

  /// An idle connection that is young enough and not closed by the peer, else a new one. The caller
  /// owns it, and may close() it also while it connects.
  Taken take(const Endpoint& endpoint);
  /// Never an idle one: for the retry after a reused one was reset.
  ClientConnection take_new(const Endpoint& endpoint);
  /// For reuse, after a whole answer that allows it. Over the bound the oldest one is closed.
  void give_back(ClientConnection connection);
  /// Closes the idle ones of a dead worker.
  void drop_all(const Endpoint& endpoint);

  std::size_t idle_count() const;
  net::Core& core() { return core_; }

 private:
  struct Idle {
    ClientConnection connection;
    Instant since;
  };
  void drop_old(Instant now);

  net::Core& core_;
  PoolLimits limits_;
  std::map<std::string, std::vector<Idle>, std::less<>> idle_;
  net::Ticker ticker_;
};

}  // namespace hf::http
