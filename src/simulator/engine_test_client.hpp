// For tests: asks a simulated engine over virtual time, and takes its answers apart.
#pragma once

#include <algorithm>
#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "simulator/engine_api.hpp"

namespace hf::simulator {

/// One answer, read back from its bytes.
struct TestAnswer {
  std::string raw;
  StreamEnd end = StreamEnd::kOpen;
  int status = 0;
  std::vector<std::string> header_lines;
  std::string body;                 // chunk framing taken off
  std::vector<std::string> chunks;  // as framed; empty if not chunked
  bool last_chunk = false;          // the final chunk was there

  /// The `data:` payloads, in order, "[DONE]" included.
  std::vector<std::string> events() const {
    std::vector<std::string> found;
    std::size_t at = 0;
    while ((at = body.find("data: ", at)) != std::string::npos) {
      const std::size_t end_at = body.find("\n\n", at);
      found.push_back(body.substr(at + 6, end_at - at - 6));
      if (end_at == std::string::npos) break;
      at = end_at + 2;
    }
    return found;
  }
  /// The events that are JSON objects.
  std::vector<boost::json::object> objects() const {
    std::vector<boost::json::object> found;
    for (const std::string& event : events()) {
      boost::system::error_code error;
      boost::json::value value = boost::json::parse(event, error);
      if (!error && value.is_object()) found.push_back(value.as_object());
    }
    return found;
  }
  boost::json::object json() const { return boost::json::parse(body).as_object(); }
};

inline TestAnswer read_answer(std::string raw, StreamEnd end) {
  TestAnswer answer;
  answer.end = end;
  const std::size_t head_end = raw.find("\r\n\r\n");
  if (head_end != std::string::npos) {
    const std::string head = raw.substr(0, head_end);
    answer.status = std::atoi(head.c_str() + 9);
    for (std::size_t at = head.find("\r\n"); at != std::string::npos;) {
      const std::size_t next = head.find("\r\n", at + 2);
      answer.header_lines.push_back(head.substr(at + 2, next - at - 2));
      at = next;
    }
    std::string_view rest = std::string_view(raw).substr(head_end + 4);
    std::string lower = head;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (lower.find("transfer-encoding: chunked") == std::string::npos) {
      answer.body = rest;
    } else {
      while (!rest.empty()) {
        const std::size_t line = rest.find("\r\n");
        if (line == std::string_view::npos) break;
        const std::size_t size = std::stoul(std::string(rest.substr(0, line)), nullptr, 16);
        rest.remove_prefix(line + 2);
        if (size == 0) {
          answer.last_chunk = true;
          break;
        }
        answer.chunks.emplace_back(rest.substr(0, size));
        answer.body += rest.substr(0, size);
        rest.remove_prefix(std::min(size + 2, rest.size()));
      }
    }
  }
  answer.raw = std::move(raw);
  return answer;
}

class TestClient {
 public:
  explicit TestClient(EngineApiOptions options) : api(std::move(options)) {}

  /// Sends a request and leaves it open. Its id.
  std::uint64_t send(std::string_view method, std::string_view target, std::string_view body,
                     std::string_view request_id = "") {
    EngineCall call;
    call.method = method;
    call.target = target;
    call.body = body;
    call.request_id = request_id;
    take(api.handle(call, now));
    return last;
  }
  /// Sends and runs until the answer is there.
  TestAnswer ask(std::string_view method, std::string_view target, std::string_view body = "") {
    const std::uint64_t id = send(method, target, body);
    run_until_ended(id);
    return answer(id);
  }
  TestAnswer post(std::string_view target, std::string_view body) {
    return ask("POST", target, body);
  }
  TestAnswer fault(std::string_view body) { return ask("POST", "/sim/fault", body); }

  /// Polls once, at the next time when something happens. False if nothing will.
  bool step() {
    const Instant at = api.next_event_at();
    if (at == kNever) return false;
    now = std::max(now, at);
    poll();
    return true;
  }
  void poll() {
    std::vector<EngineOutput> outputs;
    api.poll(now, outputs);
    for (EngineOutput& output : outputs) take(std::move(output));
    const ProcessAction asked = api.take_process_action();
    if (asked != ProcessAction::kNone) action = asked;
  }
  void run_until_ended(std::uint64_t id) {
    while (ends[id] == StreamEnd::kOpen && action == ProcessAction::kNone && step()) {
    }
  }
  /// Runs until the stream has so many events.
  void run_until_events(std::uint64_t id, std::size_t events) {
    while (answer(id).events().size() < events && step()) {
    }
  }
  TestAnswer answer(std::uint64_t id) { return read_answer(bytes[id], ends[id]); }

  EngineApi api;
  Instant now{};
  std::uint64_t last = 0;
  std::map<std::uint64_t, std::string> bytes;
  std::map<std::uint64_t, StreamEnd> ends;
  ProcessAction action = ProcessAction::kNone;

 private:
  void take(const EngineOutput& output) {
    last = output.stream;
    EXPECT_EQ(ends[output.stream], StreamEnd::kOpen) << "bytes after the end";
    bytes[output.stream] += output.bytes;
    ends[output.stream] = output.end;
  }
};

inline EngineApiOptions test_options(Dialect dialect) {
  EngineApiOptions options;
  options.model = "smollm2";
  options.engine.dialect = dialect;
  options.engine.model_len = 2048;
  return options;
}

inline std::vector<TokenId> ids_in(const boost::json::value& value) {
  std::vector<TokenId> ids;
  if (!value.is_array()) return ids;
  for (const auto& id : value.as_array()) ids.push_back(static_cast<TokenId>(id.as_int64()));
  return ids;
}

}  // namespace hf::simulator
