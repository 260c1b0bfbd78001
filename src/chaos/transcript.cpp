#include "chaos/transcript.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>

namespace hf::chaos {
namespace {

namespace json = boost::json;

constexpr std::size_t kProblemsMax = 5;

const json::value* find(const json::value& in, std::string_view key) {
  const auto* object = in.if_object();
  return object == nullptr ? nullptr : object->if_contains(key);
}

std::string text_of(const json::value* value) {
  if (value == nullptr) return {};
  if (const auto* text = value->if_string()) return std::string(*text);
  if (const auto* number = value->if_int64()) return std::to_string(*number);
  return {};
}

std::int64_t number_of(const json::value* value) {
  const auto* number = value == nullptr ? nullptr : value->if_int64();
  return number == nullptr ? -1 : *number;
}

std::string shown(std::string_view bytes) {
  return excerpt(bytes, 0, 120);
}

bool is_continued(char c) {
  return (static_cast<unsigned char>(c) & 0xc0U) == 0x80U;
}

}  // namespace

std::string excerpt(std::string_view text, std::size_t from, std::size_t bytes) {
  from = std::min(from, text.size());
  while (from > 0 && from < text.size() && is_continued(text[from])) --from;
  auto end = std::min(from + bytes, text.size());
  while (end > from && end < text.size() && is_continued(text[end])) --end;
  return std::string(text.substr(from, end - from));
}

void BodyTaker::problem(std::string what) {
  if (into_.problems.size() < kProblemsMax) into_.problems.push_back(std::move(what));
}

void BodyTaker::take(std::string_view bytes, Instant now) {
  if (is_broken_) return;
  buffer_ += bytes;
  std::string_view rest = buffer_;
  while (true) {
    const auto event = scanner_.next(rest);
    if (!event) {
      is_broken_ = true;
      return problem("no event stream: " + event.error().detail);
    }
    if (!*event) break;
    take_event(**event, now);
    rest.remove_prefix((*event)->size);
  }
  buffer_.erase(0, buffer_.size() - rest.size());
}

void BodyTaker::end() {
  into_.clean = true;
  if (!buffer_.empty()) problem("half an event before a clean end: " + shown(buffer_));
}

void BodyTaker::take_event(const wire::SseEvent& event, Instant now) {
  if (event.comment_only) return;
  if (into_.done) return problem("an event after [DONE]: " + shown(event.whole));
  if (event.data == "[DONE]") {
    into_.done = true;
    return;
  }
  boost::system::error_code error;
  const auto chunk = json::parse(event.data, error);
  if (error || !chunk.is_object()) return problem("no JSON object: " + shown(event.whole));
  take_chunk(chunk, now);
}

void BodyTaker::take_error(const json::value& error) {
  into_.error = text_of(find(error, "code"));
  if (into_.error->empty()) into_.error = text_of(find(error, "type"));
  if (into_.error->empty()) into_.error = "without a code";
  into_.error_message = text_of(find(error, "message"));
}

void BodyTaker::take_usage(const json::value& chunk) {
  const auto* usage = find(chunk, "usage");
  if (usage == nullptr || !usage->is_object()) return;
  into_.usage =
      Usage{number_of(find(*usage, "prompt_tokens")), number_of(find(*usage, "completion_tokens")),
            number_of(find(*usage, "total_tokens"))};
}

void BodyTaker::take_chunk(const json::value& chunk, Instant now) {
  if (const auto* error = find(chunk, "error"); error != nullptr && !error->is_null())
    return take_error(*error);
  if (into_.error) problem("an event after an error");
  into_.ids.insert(text_of(find(chunk, "id")));
  into_.models.insert(text_of(find(chunk, "model")));
  into_.created.insert(number_of(find(chunk, "created")));
  take_usage(chunk);
  const auto* choices = find(chunk, "choices");
  if (choices == nullptr || !choices->is_array()) return problem("an event without choices");
  for (const auto& choice : choices->get_array()) take_choice(choice, now);
}

void BodyTaker::take_choice(const json::value& choice, Instant now) {
  if (!into_.finish.empty()) problem("a choice after the finish reason");
  const auto* part = find(choice, "delta");
  if (part == nullptr) part = find(choice, "message");
  if (part != nullptr && find(*part, "role") != nullptr) ++into_.roles;
  const auto text = text_of(part == nullptr ? find(choice, "text") : find(*part, "content"));
  if (!text.empty()) {
    into_.text += text;
    into_.ticks.push_back(now);
  }
  into_.finish = text_of(find(choice, "finish_reason"));
}

void BodyTaker::take_whole(std::string_view body, Instant now) {
  boost::system::error_code error;
  const auto value = json::parse(body, error);
  if (error || !value.is_object()) return problem("no JSON object: " + shown(body));
  take_chunk(value, now);
  into_.done = !into_.error;
  into_.clean = true;
}

}  // namespace hf::chaos
