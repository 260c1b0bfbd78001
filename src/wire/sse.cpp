#include "wire/sse.hpp"

#include <algorithm>
#include <cstring>

namespace hf::wire {

namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

std::string_view without_cr(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

/// The value of a field, one space after the colon taken off.
std::string_view value_after(std::string_view line, std::size_t colon) {
  std::string_view value = line.substr(std::min(colon + 1, line.size()));
  if (value.starts_with(' ')) value.remove_prefix(1);
  return value;
}

}  // namespace

void SseScanner::reset() {
  searched_ = 0;
  line_start_ = 0;
  at_stream_start_ = true;
}

Result<std::optional<SseEvent>> SseScanner::next(std::string_view buf) {
  const std::string_view seen = buf.substr(0, event_bytes_max_);
  while (searched_ < seen.size()) {
    const void* found = std::memchr(seen.data() + searched_, '\n', seen.size() - searched_);
    if (found == nullptr) {
      searched_ = seen.size();
      break;
    }
    const auto lf = static_cast<std::size_t>(static_cast<const char*>(found) - seen.data());
    const bool is_blank = without_cr(seen.substr(line_start_, lf - line_start_)).empty();
    searched_ = line_start_ = lf + 1;
    if (!is_blank) continue;
    searched_ = line_start_ = 0;
    return parse(seen.substr(0, lf + 1));
  }
  if (buf.size() > seen.size()) {
    return fail(Code::kTooLarge,
                "SSE event of more than " + std::to_string(event_bytes_max_) + " bytes");
  }
  return std::nullopt;
}

SseEvent SseScanner::parse(std::string_view whole) {
  SseEvent event;
  event.size = whole.size();
  event.whole = whole;
  is_joined_ = false;
  std::string_view rest = whole;
  if (at_stream_start_ && rest.starts_with(kByteOrderMark)) {
    rest.remove_prefix(kByteOrderMark.size());
  }
  at_stream_start_ = false;
  while (!rest.empty()) {
    const std::size_t lf = rest.find('\n');  // there always is one: the event ends in one
    parse_line(without_cr(rest.substr(0, lf)), event);
    rest.remove_prefix(lf + 1);
  }
  return event;
}

void SseScanner::parse_line(std::string_view line, SseEvent& event) {
  if (line.empty() || line.front() == ':') return;
  event.comment_only = false;
  const std::size_t colon = std::min(line.find(':'), line.size());
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = value_after(line, colon);
  if (name == "event") event.event = value;
  if (name == "id") event.id = value;
  if (name != "data") return;
  if (!event.has_data) {
    event.has_data = true;
    event.data = value;
    return;
  }
  if (!is_joined_) joined_.assign(event.data);
  is_joined_ = true;
  joined_ += '\n';
  joined_ += value;
  event.data = joined_;
}

}  // namespace hf::wire
