// A client of the load: one connection, one request, one transcript.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chaos/transcript.hpp"
#include "http/endpoint.hpp"
#include "net/core.hpp"
#include "net/types.hpp"

namespace hf::chaos {

struct Call {
  std::vector<http::Endpoint> to;  // the next one where nobody listens, as a balancer would
  std::string path;
  std::string body;
  std::string request_id;  // sent as x-request-id
  std::string user_id;     // sent as x-user-id unless empty
  bool stream = true;
  std::optional<double> read_bytes_per_s;  // a slow reader, with a small window
};

class Client {
 public:
  Client(net::Core& core, Call call) : core_(core), call_(std::move(call)), socket_(core.io()) {}

  /// Runs the request to its end. `self` keeps it alive; once.
  static net::Task<void> run(std::shared_ptr<Client> self);
  /// Goes away at once, as a closed browser tab does. Core thread.
  void leave();
  /// The run has no time left: ends like a broken connection.
  void give_up(const std::string& why);

  const Call& call() const { return call_; }
  Transcript& transcript() { return transcript_; }
  const Transcript& transcript() const { return transcript_; }
  Instant started_at() const { return started_at_; }
  Instant ended_at() const { return ended_at_; }
  bool has_started() const { return started_at_ != Instant{}; }
  bool has_ended() const { return ended_at_ != Instant{}; }

 private:
  net::Task<bool> connect();
  net::Task<bool> connect_to(http::Endpoint to);
  net::Task<void> exchange();
  net::Task<void> read_answer();
  net::Task<bool> read_more(std::string& into);
  void broke(const std::string& why);

  net::Core& core_;
  Call call_;
  net::Socket socket_;
  Transcript transcript_;
  Instant started_at_{};
  Instant ended_at_{};
};

}  // namespace hf::chaos
