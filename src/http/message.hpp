// Requests and responses as values, and how their heads are written. Chunks: wire/chunk.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/byte_budget.hpp"
#include "wire/chunk.hpp"
#include "wire/http_head.hpp"

namespace hf::http {

/// What a server connection read: a whole request.
struct Request {
  std::string method;
  std::string target;  // as sent
  std::string path;    // without scheme, host and query
  std::string query;   // what follows '?', "" when there is none
  wire::Headers headers;
  std::string body;
  HeldBytes held;  // counts the body where ReadLimits has a budget
  int version_minor = 1;
  bool keep_alive = true;
};

struct Response {
  int status = 200;
  wire::Headers headers;
  std::string body;
};

/// How the end of a body is told.
enum class Framing : std::uint8_t { kLength, kChunked, kUntilClose };

struct HeadOptions {
  Framing framing = Framing::kLength;
  std::size_t length = 0;  // for kLength
  bool keep_alive = true;  // false (and kUntilClose) writes Connection: close
};

/// Appends a status line, Date, `headers` and the framing headers. `headers` must not hold Date,
/// Connection, Content-Length or Transfer-Encoding, nor CR or LF.
void append_response_head(std::string& out, int status, const wire::Headers& headers,
                          HeadOptions options);
/// Head with Content-Length and body.
void append_response(std::string& out, const Response& response, bool keep_alive);
/// Head of a request to `host` (Endpoint::to_string()). Content-Length is written when there is a
/// body or the method is POST. `headers` must not hold Host, Content-Length or Connection.
std::string request_head(std::string_view method, std::string_view target, std::string_view host,
                         const wire::Headers& headers, std::size_t body_size);

/// "Not Found" for 404; "" for numbers without a name here.
std::string_view reason_phrase(int status);

/// Takes the framing off a body, whichever the head announced.
class BodyDecoder {
 public:
  explicit BodyDecoder(const wire::RequestHead& head);
  /// `is_head`: the answer to HEAD has no body. 1xx, 204 and 304 have none either.
  explicit BodyDecoder(const wire::ResponseHead& head, bool is_head = false);

  /// Appends body bytes of `in` to `out`, returns how many bytes of `in` were used: all of them
  /// until done(). kProtocol when the chunks are broken.
  Result<std::size_t> decode(std::string_view in, std::string& out);
  bool done() const;
  /// The peer ended the connection: fine when done() or the body runs until the end, else kReset.
  Result<void> end_of_stream();
  /// Known length that is still to come, if the head told one.
  std::optional<std::uint64_t> bytes_left() const;

 private:
  Framing framing_ = Framing::kLength;
  std::uint64_t left_ = 0;
  bool ended_ = false;
  wire::ChunkDecoder chunks_;
};

}  // namespace hf::http
