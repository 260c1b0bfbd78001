// For tests: what real engines were asked and answered, from tests/recorded/.
#pragma once

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/dialect.hpp"

namespace hf::engine {

inline std::string read_recorded(Kind kind, std::string_view file) {
  const std::string folder = kind == Kind::kVllm ? "vllm-0.32" : "llama.cpp-b11549";
  const std::string path =
      std::string(HF_SOURCE_DIR) + "/tests/recorded/" + folder + "/" + std::string(file);
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("missing " + path);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

/// The JSON body of NAME.request.
inline std::string recorded_request(Kind kind, std::string_view name) {
  const std::string bytes = read_recorded(kind, std::string(name) + ".request");
  std::string body = bytes.substr(bytes.find('\n') + 1);
  while (!body.empty() && (body.back() == '\n' || body.back() == '\r')) body.pop_back();
  return body;
}

/// The body of NAME.response without head and chunk framing.
inline std::string recorded_body(Kind kind, std::string_view name) {
  const std::string bytes = read_recorded(kind, std::string(name) + ".response");
  const std::size_t head_end = bytes.find("\r\n\r\n");
  if (head_end == std::string::npos) throw std::runtime_error("no head");
  std::string lower = bytes.substr(0, head_end);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::string rest = bytes.substr(head_end + 4);
  if (lower.find("transfer-encoding: chunked") == std::string::npos) return rest;
  std::string body;
  std::size_t at = 0;
  while (at < rest.size()) {
    const std::size_t line_end = rest.find("\r\n", at);
    if (line_end == std::string::npos) break;
    const std::size_t size = std::stoul(rest.substr(at, line_end - at), nullptr, 16);
    if (size == 0) break;
    body += rest.substr(line_end + 2, size);
    at = line_end + 2 + size + 2;
  }
  return body;
}

/// The whole events ("data: …\n\n") of a body; half an event at the end is left out.
inline std::vector<std::string> split_events(std::string_view body) {
  std::vector<std::string> events;
  for (;;) {
    const std::size_t end = body.find("\n\n");
    if (end == std::string_view::npos) return events;
    events.emplace_back(body.substr(0, end + 2));
    body.remove_prefix(end + 2);
  }
}

inline std::vector<std::string> recorded_events(Kind kind, std::string_view name) {
  return split_events(recorded_body(kind, name));
}

inline std::string_view data_of(std::string_view event) {
  return event.substr(6, event.size() - 8);
}

}  // namespace hf::engine
