// The way from a frontend to an engine: a TCP proxy of ours that can be told to misbehave.
//
// It knows no HTTP: it moves bytes, and counts them, so that a fault is proved by numbers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "http/endpoint.hpp"
#include "http/listener.hpp"
#include "net/core.hpp"
#include "net/signal.hpp"

namespace hf::chaos {

/// What is in force; the defaults are a healthy link.
struct LinkFault {
  Duration delay{};                   // each byte arrives that much later, both ways
  std::int64_t bytes_per_s = 0;       // towards the client; 0: as fast as it goes
  std::int64_t end_after_bytes = -1;  // of each connection from now on; -1: never
  bool is_reset = false;              // end with a reset instead of a half-finished close
  bool is_stalled = false;            // nothing moves, nothing is closed: half-open
};

struct LinkCounters {
  std::uint64_t bytes_up = 0;    // to the engine
  std::uint64_t bytes_down = 0;  // from it
  std::uint64_t connections = 0;
  std::uint64_t ended = 0;  // connections that the fault ended
  std::uint64_t held = 0;   // reads that a stall or a delay held back
  std::size_t open = 0;
};

/// Core thread only. stop() must have run before it is destroyed.
class Link {
 public:
  static Result<std::unique_ptr<Link>> open(net::Core& core, http::Endpoint to);
  ~Link();

  http::Endpoint endpoint() const;
  /// In force for open connections too.
  void set(const LinkFault& fault);
  const LinkCounters& counters() const;
  /// Closes everything and waits until nothing runs.
  net::Task<void> stop();

 private:
  struct State;
  struct Pair;
  explicit Link(std::shared_ptr<State> state) : state_(std::move(state)) {}
  static net::Task<void> serve(std::shared_ptr<State> state, net::Socket socket);
  static net::Task<void> pump(std::shared_ptr<State> state, std::shared_ptr<Pair> pair, bool down);
  static net::Task<bool> pass(std::shared_ptr<State> state, std::shared_ptr<Pair> pair, bool down,
                              std::string bytes);

  std::shared_ptr<State> state_;
};

}  // namespace hf::chaos
