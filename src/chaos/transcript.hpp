// All that one client saw of one answer.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "wire/sse.hpp"

namespace hf::chaos {

struct Usage {
  std::int64_t prompt = 0;
  std::int64_t completion = 0;
  std::int64_t total = 0;
  bool operator==(const Usage&) const = default;
};

struct Transcript {
  int status = 0;          // 0: no head came
  std::string request_id;  // of the answer's head
  std::string text;
  std::string finish;  // finish reason; empty: none came
  std::size_t roles = 0;
  std::set<std::string> ids;
  std::set<std::string> models;
  std::set<std::int64_t> created;
  std::optional<Usage> usage;
  bool done = false;                 // [DONE] came
  bool clean = false;                // the body ended as its framing says
  std::optional<std::string> error;  // code of an error in the stream, or of an error status
  std::string error_message;
  std::string broken;                 // what became of the connection, if not its end in order
  std::vector<std::string> problems;  // what no client may ever be sent
  std::vector<Instant> ticks;         // arrival of each event with text
  bool left = false;                  // the client went away on purpose
  std::string cancelled;              // "stop", "kill": an operator ended it
};

/// At most `bytes` of a text from `from` on, cut between characters: fit for JSON and XML.
std::string excerpt(std::string_view text, std::size_t from, std::size_t bytes);

/// Reads an answer's body, framing taken off, into a transcript.
class BodyTaker {
 public:
  explicit BodyTaker(Transcript& into) : into_(into) {}

  /// Bytes of an event stream, split anywhere.
  void take(std::string_view bytes, Instant now);
  /// The body ended as its framing says.
  void end();
  /// A body that is one JSON document: an error, or an answer that was not streamed.
  void take_whole(std::string_view body, Instant now);

 private:
  void take_event(const wire::SseEvent& event, Instant now);
  void take_chunk(const boost::json::value& chunk, Instant now);
  void take_choice(const boost::json::value& choice, Instant now);
  void take_usage(const boost::json::value& chunk);
  void take_error(const boost::json::value& error);
  void problem(std::string what);

  Transcript& into_;
  std::string buffer_;
  wire::SseScanner scanner_{std::size_t{64} << 20};
  bool is_broken_ = false;
};

}  // namespace hf::chaos
