// For the fuzz targets of the dialects: any bytes as an event, and as the answer to a question.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/probe.hpp"
#include "engine/questions.hpp"
#include "engine/skeleton.hpp"
#include "engine/stream_reader.hpp"

namespace hf::engine {

inline void fuzz_event(Kind kind, Called called, unsigned flags, std::string_view data) {
  const bool usage = (flags & 1) != 0;
  const bool continuous = (flags & 2) != 0;
  StreamReader reader({kind, called, (flags & 4) != 0, usage, continuous, "\"f\""});
  if ((flags & 8) != 0) reader.set_identity({"\"i\"", "1", "\"m\"", "\"s\""});
  const std::string event = "data: " + std::string(data) + "\n\n";
  const auto read = reader.read(std::string_view(event).substr(6, data.size()));
  if (!read) return;
  std::string edited;
  append_edited(edited, event, *read);
  const std::string_view left = std::string_view(edited).substr(6, edited.size() - 8);
  if (wire::json_valid(data) && !wire::json_valid(left)) std::abort();
  const auto endpoint =
      called == Called::kChat ? core::Endpoint::kChat : core::Endpoint::kCompletions;
  Skeleton skeleton({kind, endpoint, usage, continuous, "\"f\""});
  skeleton.capture(left);
  if (!skeleton.ready()) return;
  for (const auto write : {0, 1, 2, 3}) {
    std::string out;
    if (write == 0) skeleton.append_role(out, {});
    if (write == 1) skeleton.append_delta(out, read->meaning.text, {1, 2});
    if (write == 2) skeleton.append_finish(out, "", "stop", read->stop_reason, {1, 2});
    if (write == 3) skeleton.append_usage(out, {1, 2});
    if (out.empty()) continue;
    if (!wire::json_valid(std::string_view(out).substr(6, out.size() - 8))) std::abort();
  }
}

inline void fuzz_answers(Kind kind, int status, std::string_view body) {
  AskText text(kind, "m", {1, 2});
  text.next(status, body);
  AskFill fill(kind, {1, core::kUnknownToken, 3}, {{1, 2, "x"}});
  fill.next(status, body);
  Probe probe;
  probe.start();
  auto step = probe.next(status, body);
  for (int i = 0; i < 8 && std::holds_alternative<WireRequest>(step); ++i) {
    step = probe.next(status, body);
  }
  Dialect::of(kind).load(body);
}

/// First byte: flags; the rest: the event.
inline int fuzz_dialect(Kind kind, const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view data(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  const unsigned flags = bytes[0];
  // An event's data has no line breaks of its own.
  if (data.find('\n') == std::string_view::npos) {
    for (const Called called : {Called::kChat, Called::kCompletions, Called::kTokens}) {
      fuzz_event(kind, called, flags, data);
    }
  }
  fuzz_answers(kind, (flags & 16) != 0 ? 400 : 200, data);
  return 0;
}

}  // namespace hf::engine
