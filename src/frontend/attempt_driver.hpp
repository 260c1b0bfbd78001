// One attempt: a connection to an engine, the request on it, and its answer read to the end.
// Reports to the request's machine; the machine may end it at any moment through cancel().
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/request_machine.hpp"
#include "engine/dialect.hpp"
#include "engine/stream_reader.hpp"
#include "engine/whole_body.hpp"
#include "http/client_connection.hpp"
#include "http/message.hpp"
#include "net/types.hpp"
#include "wire/http_head.hpp"
#include "wire/sse.hpp"

namespace hf::frontend {

class RequestDriver;
class DataCore;

class AttemptDriver : public std::enable_shared_from_this<AttemptDriver> {
 public:
  AttemptDriver(std::shared_ptr<RequestDriver> request, const core::OpenAttempt& open,
                engine::WireRequest call);
  ~AttemptDriver();

  core::AttemptId id() const { return open_.attempt; }
  const core::OpenAttempt& opened() const { return open_; }
  /// How its engine's whole bodies looked when it was opened.
  const std::shared_ptr<const engine::WholeTemplate>& whole_form() const { return whole_form_; }
  const engine::StreamReader& reader() const { return reader_; }
  /// The event that is being reported, with its bytes.
  const engine::ReadEvent& event() const { return *event_; }
  std::string_view event_bytes() const { return event_bytes_; }
  /// Of a response that was read whole.
  int status() const { return head_.status; }
  const wire::ResponseHead& head() const { return head_; }
  const std::string& body() const { return body_; }
  std::size_t memory_bytes() const {
    return call_.body.capacity() + raw_.capacity() + body_.capacity();
  }

  /// Runs the attempt; keeps itself alive.
  static net::Task<void> run(std::shared_ptr<AttemptDriver> self);
  /// Nothing is reported any more; the connection is closed, or read to its end where only the end
  /// marker is missing, so that it can be used again.
  void cancel();

 private:
  net::Task<bool> connect_and_send();
  net::Task<bool> read_head();
  net::Task<void> read_whole();
  net::Task<void> read_stream();
  // attempt_relay.cpp
  bool is_relayed_answer() const;
  net::Task<void> read_relay();
  bool pass_events();
  bool pass_bytes();
  void relay_ended(bool is_stream);
  std::optional<wire::SseEvent> next_event(bool& broken);
  bool take_events();
  bool report_event(const wire::SseEvent& sse);
  net::Task<void> hold_back();
  void refused_whole(const engine::WholeVerdict& verdict);
  void failed(core::Reason reason);
  void ended();
  void give_back();
  std::string request_head() const;
  Duration retry_after() const;

  std::shared_ptr<RequestDriver> request_;
  DataCore& core_;
  core::OpenAttempt open_;
  engine::WireRequest call_;
  engine::StreamReader reader_;
  std::shared_ptr<const engine::WholeTemplate> whole_form_;
  std::optional<http::ClientConnection> connection_;
  wire::SseScanner scanner_;
  wire::ResponseHead head_;
  std::optional<http::BodyDecoder> decoder_;
  std::string raw_;        // bytes as they came
  std::string body_;       // framing taken off
  std::size_t taken_ = 0;  // of body_, by the scanner
  const engine::ReadEvent* event_ = nullptr;
  std::string_view event_bytes_;
  bool reused_ = false;
  bool got_bytes_ = false;
  bool saw_done_ = false;
  bool is_held_ = false;  // relayed: nothing of it was passed on yet
  bool is_cancelled_ = false;
};

}  // namespace hf::frontend
