// One client's connection: requests in, bytes out, and the news that the client has gone.
//
// Reading: a reader runs for the connection's whole life, so a gone client is noticed at once, also
// while a request is being served. What comes early (pipelining) waits in a buffer of 64 KiB; when
// that is full reading stops, and with it the noticing, until read_request() makes room.
// Writing: append to out(), then flush_now(): it writes at once as much as the socket takes; the
// rest is left to one background writer. Nothing here bounds out(): the caller looks at unsent(),
// waits in drained(), or cuts the client by stuck_since().
#pragma once

#include <cstddef>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "base/time.hpp"
#include "http/message.hpp"
#include "net/core.hpp"
#include "net/signal.hpp"

namespace hf::http {

struct ReadLimits {
  std::size_t head_bytes_max = 64UL * 1024;
  std::size_t body_bytes_max = 32UL * 1024 * 1024;
  Duration idle_max = std::chrono::seconds(75);           // before the first byte of a request
  Duration head_max = std::chrono::seconds(10);           // from its first byte to the head's end
  Duration body_progress_max = std::chrono::seconds(30);  // for 16 KiB of the body, or its rest
  ByteBudget* budget = nullptr;  // counts bodies while they come in; must outlive the request
};

/// Why there is no request.
struct ReadFailure {
  int status = 0;  // 400, 408, 413, 431, 503: answer it, then close; 0: nobody to answer
  Error error;     // with status 0: kClosed in order between requests, kReset otherwise
};

/// A handle; the state is shared with the reader and the writer. Destroying it aborts. Core only.
class ServerConnection {
 public:
  ServerConnection(net::Core& core, net::Socket socket);
  ~ServerConnection();
  ServerConnection(const ServerConnection&) = delete;
  ServerConnection& operator=(const ServerConnection&) = delete;

  /// The next request with its whole body. `Expect: 100-continue` is answered. After a failure the
  /// connection can only be written to and closed. One call at a time. A client that has sent its
  /// request and its end of stream in one go gives a request here and gone() at once.
  net::Task<std::expected<Request, ReadFailure>> read_request(ReadLimits limits = {});

  /// Where to append what is to be sent; never shorten or replace it.
  std::string& out();
  /// Writes now what the socket takes, the rest in the background. Never blocks, never throws;
  /// failures show as gone(). Does nothing on a closed connection (and empties out()).
  void flush_now();
  /// Bytes in out() that the kernel has not taken.
  std::size_t unsent() const;
  /// Waits until unsent() <= `bytes`: true, or until gone or `deadline`: false.
  net::Task<bool> drained(std::size_t bytes, Instant deadline = kNever);
  /// Bytes of a next request are here, read or not.
  bool has_input() const;
  /// Since when the kernel, which was offered bytes, has taken none of them; none: it took all that
  /// it was offered. Bytes in out() that were not flushed yet are no backlog.
  std::optional<Instant> stuck_since() const;

  /// The client ended its side, reset, or we closed.
  bool gone() const;
  /// From now on a client that ends its side is not gone at once, since it may have closed only
  /// half of the connection: it is sent `bytes`, which must mean nothing where the answer stands
  /// (an interim response, a comment). One that has closed answers with a reset and is gone then.
  /// Empty, as at the start: the end of its side counts.
  void set_probe(std::string bytes);
  /// `fn` runs once on the core, from the loop and never from within a call of this class, when the
  /// client goes (not when we close), soon if it has gone already. An empty function unsets it. It
  /// does not run after the destruction of the connection.
  void on_gone(std::function<void()> fn);
  /// Notified when bytes were written in the background, came in, or the client has gone.
  net::Signal& changed();

  /// Sends what is unsent (until `flush_deadline`), then end of stream, then reads up to 1 s and
  /// 32 MiB so that the client sees our last bytes before a reset, then closes.
  net::Task<void> close_gracefully(Instant flush_deadline);
  /// As above with 5 s for flushing.
  net::Task<void> close_gracefully();
  /// Closes now; unsent bytes are lost.
  void abort();
  /// Closes with a TCP reset.
  void reset();
  /// The same because of what the client does (not): on_gone() is told.
  void cut();
  bool was_cut() const;

  net::Core& core();

 private:
  struct State;
  static net::Task<void> read_loop(std::shared_ptr<State> state);
  static void half_closed(const std::shared_ptr<State>& state);
  static net::Task<void> watch_for_reset(std::shared_ptr<State> state);
  static void flush(const std::shared_ptr<State>& state);
  static net::Task<void> write_loop(std::shared_ptr<State> state);
  static net::Task<std::expected<Request, ReadFailure>> read(std::shared_ptr<State> state,
                                                             ReadLimits limits);
  static net::Task<bool> drain(std::shared_ptr<State> state, std::size_t bytes, Instant deadline);
  static net::Task<void> end(std::shared_ptr<State> state, Instant flush_deadline);

  std::shared_ptr<State> state_;
};

}  // namespace hf::http
