// Server-sent events: finds whole events in a growing buffer without copying them.
//
// Lines end in LF or CRLF, in any mixture. A CR alone is no line end here (no engine sends it; to
// know would mean holding back every event by one byte): it stays in the field's value.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace hf::wire {

/// One event. Views point into the buffer given to next(), `data` of several lines into the
/// scanner; all are good until the buffer changes or next() is called again.
struct SseEvent {
  std::size_t size = 0;      // bytes in the buffer, the blank line included
  std::string_view whole;    // these bytes
  std::string_view data;     // value of the data field; several are joined with '\n'
  std::string_view event;    // value of the last event field
  std::string_view id;       // value of the last id field
  bool has_data = false;     // there was a data field, if only an empty one
  bool comment_only = true;  // no field at all: comments, or a blank line too many
};

/// Usage: `while (event) { …; rest.remove_prefix(event->size); }` with rest = what is unread.
class SseScanner {
 public:
  explicit SseScanner(std::size_t event_bytes_max) : event_bytes_max_(event_bytes_max) {}

  /// The whole event at the start of `buf`, or nullopt until its blank line is there.
  /// After nullopt, call again with the same bytes and more behind them (the buffer may have
  /// moved); after an event, with the bytes that follow it. Each byte is searched once.
  /// Bounds: an event of more than event_bytes_max bytes is kTooLarge, told once that many bytes
  /// are there. No allocation, but for an event with several data lines (its buffer is kept).
  Result<std::optional<SseEvent>> next(std::string_view buf);

  /// Forgets where it was: the next call starts a new stream.
  void reset();

 private:
  SseEvent parse(std::string_view whole);
  void parse_line(std::string_view line, SseEvent& event);

  std::size_t event_bytes_max_;
  std::size_t searched_ = 0;    // no line end of interest before this offset
  std::size_t line_start_ = 0;  // of the line that searched_ is in
  bool at_stream_start_ = true;
  bool is_joined_ = false;
  std::string joined_;
};

}  // namespace hf::wire
