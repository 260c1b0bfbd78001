// A connection to an engine: connect, write a request, read bytes.
//
// Every operation takes a deadline; kNever costs nothing, so a stream is read without timers and is
// closed by its owner's tick. close() may be called by anyone on the core at any time: what waits
// then returns kCancelled. One read and one write may be under way at the same time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"
#include "http/endpoint.hpp"
#include "net/core.hpp"

namespace hf::http {

/// A movable handle. Destroying it closes; operations under way keep the state alive and return
/// kCancelled. Core only.
class ClientConnection {
 public:
  ClientConnection(net::Core& core, Endpoint endpoint);
  ~ClientConnection();
  ClientConnection(ClientConnection&&) noexcept;
  ClientConnection& operator=(ClientConnection&&) noexcept;

  /// Resolves unless the host is an IP literal, and connects to the first address that answers.
  /// kRefused, kTimeout (deadline), kUnavailable (no such name, no route), kCancelled. Once.
  net::Task<Result<void>> connect(Instant deadline);
  /// Sends `head` and `body` in one gather write; `body` must live until it returns and is not
  /// copied. kReset, kTimeout, kCancelled: then the connection is of no more use.
  net::Task<Result<void>> write(std::string head, std::string_view body, Instant deadline = kNever);
  /// Appends what has come, 1…`bytes_max` bytes (at most 16 KiB at a time), to `into`, which must
  /// live until it returns. kClosed at the end of stream, kReset, kCancelled; after kTimeout
  /// nothing is lost and reading may go on. No allocation but what `into` needs.
  net::Task<Result<std::size_t>> read_some(std::string& into, std::size_t bytes_max = 16UL * 1024,
                                           Instant deadline = kNever);
  void close();
  /// Closes with a TCP reset.
  void reset();

  bool is_open() const;
  /// Open, and the peer has neither sent anything nor ended: fit for another request.
  bool is_idle_alive() const;
  const Endpoint& endpoint() const;

 private:
  struct State;
  static net::Task<Result<void>> do_connect(std::shared_ptr<State> state, Instant deadline);
  static net::Task<Result<void>> do_write(std::shared_ptr<State> state, std::string head,
                                          std::string_view body, Instant deadline);
  static net::Task<Result<std::size_t>> do_read(std::shared_ptr<State> state, std::string& into,
                                                std::size_t bytes_max, Instant deadline);
  std::shared_ptr<State> state_;
};

}  // namespace hf::http
