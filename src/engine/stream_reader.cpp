#include "engine/stream_reader.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace hf::engine {
namespace {

using core::EventKind;
using core::Finish;
using wire::JsonKey;
using wire::JsonKind;
using wire::JsonReader;
using wire::JsonSpan;

Finish finish_of(std::string_view text) {
  if (text.empty()) return Finish::kNone;
  if (text == "stop") return Finish::kStop;
  if (text == "length") return Finish::kLength;
  if (text == "abort") return Finish::kAbort;
  if (text == "error") return Finish::kError;
  return Finish::kOther;
}

/// Takes an integer if there is one; anything else is passed over.
void take_int(JsonReader& json, std::int64_t& out) {
  std::int64_t value = 0;
  const JsonSpan span = json.skip();
  if (!json.failed() && wire::json_int(span.of(json.document()), value)) out = value;
}

/// Appends a list of ids, whole or not at all: where ids are missing the engine's count tells it,
/// where half a list was taken it might not.
JsonSpan take_ids(JsonReader& json, std::vector<core::TokenId>& out) {
  const std::size_t known = out.size();
  const JsonSpan span = json.skip();
  if (json.failed()) return span;
  JsonReader list(span.of(json.document()));
  if (list.peek() == JsonKind::kArray && !wire::json_read_ints(list, out)) out.resize(known);
  return span;
}

bool says_client_error(std::string_view type) {
  return type == "\"BadRequestError\"" || type == "\"Bad Request\"" ||
         type == "\"invalid_request_error\"" || type == "\"exceed_context_size_error\"" ||
         type == "\"NotFoundError\"" || type == "\"not_found_error\"" ||
         type == "\"UnprocessableEntityError\"";
}

/// null, "" and [] add nothing to a message.
bool is_nothing(std::string_view value) {
  return value == "null" || value == "\"\"" || value == "[]";
}

}  // namespace

StreamReader::StreamReader(ReaderOptions options) : options_(std::move(options)) {
  chat_ = options_.called == Called::kChat;
  native_ = options_.called == Called::kTokens && options_.kind == Kind::kLlamaCpp;
  if (!options_.fingerprint.empty()) {
    fingerprint_member_ = ",\"system_fingerprint\":" + options_.fingerprint;
  }
}

void StreamReader::set_identity(Identity identity) {
  wanted_ = std::move(identity);
  replace_identity_ = true;
}

void StreamReader::begin(std::string_view data) {
  text_.clear();
  error_message_.clear();
  finish_text_.clear();
  ids_.clear();
  prompt_ids_.clear();
  removables_.clear();
  edits_.clear();
  event_ = ReadEvent{};
  event_.data = data;
  seen_ = Seen{};
}

void StreamReader::edit(JsonSpan span, std::string_view with) {
  edits_.push_back({span.begin, span.size(), with});
}

Result<ReadEvent> StreamReader::read(std::string_view data) {
  begin(data);
  if (data == "[DONE]") {
    event_.meaning.kind = EventKind::kDone;
    return event_;
  }
  if (data.empty()) return event_;  // "data:" alone: a sign of life
  JsonReader json(data);
  if (json.peek() != JsonKind::kObject) {
    json.skip();
  } else if (native_) {
    read_native(json);
  } else {
    read_top(json);
  }
  if (!json.at_end()) {
    return fail(Code::kProtocol,
                "an event is not valid JSON (at byte " + std::to_string(json.offset()) + ")",
                Retry::kOtherWorker);
  }
  conclude();
  if (options_.called != Called::kTokens) make_edits();
  event_.edits = edits_;
  return event_;
}

void StreamReader::read_text(JsonReader& json) {
  if (json.peek() == JsonKind::kString) {
    json.read_string(text_);
  } else {
    json.skip();
  }
}

void StreamReader::read_finish(JsonReader& json) {
  if (json.peek() == JsonKind::kString) {
    finish_text_.clear();
    json.read_string(finish_text_);
    ++event_.meaning.choices_ended;
  } else {
    json.skip();
  }
}

void StreamReader::read_ids(JsonReader& json, std::vector<core::TokenId>& out) {
  const JsonSpan span = take_ids(json, out);
  if (options_.ids_added && span.of(json.document()) != "null") edit(span, "null");
}

bool StreamReader::read_identity(JsonReader& json, std::string_view key) {
  std::string Identity::* field = nullptr;
  if (key == "id")
    field = &Identity::id;
  else if (key == "created")
    field = &Identity::created;
  else if (key == "model")
    field = &Identity::model;
  else if (key == "system_fingerprint")
    field = &Identity::system_fingerprint;
  else
    return false;
  const JsonSpan span = json.skip();
  if (json.failed()) return true;
  const std::string_view value = span.of(json.document());
  if (field == &Identity::system_fingerprint) {
    if (value == "null") return true;
    seen_.fingerprint = true;
  }
  if ((captured_.*field).empty()) (captured_.*field) = value;
  const std::string& wanted = wanted_.*field;
  if (replace_identity_ && !wanted.empty() && wanted != value) edit(span, wanted);
  return true;
}

/// Returns whether the member stays; those that go, or may go, leave their cut.
bool StreamReader::read_top_member(JsonReader& json, const JsonKey& key, bool kept_before) {
  const auto value = [&] { return json.skip().of(json.document()); };
  const auto removable = [&](Ours what) {
    removables_.push_back({what, key, json.offset(), kept_before});
    return false;
  };
  if (key.raw == "choices") {
    read_choices(json);
  } else if (key.raw == "usage") {
    event_.usage = value();
    read_usage(event_.usage);
    return removable(Ours::kUsage);
  } else if (key.raw == "timings") {
    event_.timings = value();
    read_timings(event_.timings);
    return removable(Ours::kTimings);
  } else if (key.raw == "__verbose" && options_.ids_added) {
    read_verbose(value());
    return removable(Ours::kVerbose);
  } else if (key.raw == "prompt_token_ids") {
    read_ids(json, prompt_ids_);
  } else if (key.raw == "error") {
    read_error(value());
  } else if (key.raw == "object") {
    // Older vLLM: the error is the event itself.
    if (value() == "\"error\"") read_error(json.document());
  } else if (!read_identity(json, key.raw)) {
    json.skip();
  }
  return true;
}

void StreamReader::read_top(JsonReader& json) {
  JsonKey key;
  bool kept_before = false;
  json.enter_object();
  while (json.next_key(key)) {
    if (read_top_member(json, key, kept_before)) kept_before = true;
  }
  if (json.failed()) return;
  seen_.object_end = json.offset() - 1;
  if (seen_.prompt_n >= 0 && event_.meaning.prompt_tokens < 0) {
    event_.meaning.prompt_tokens = seen_.prompt_n + seen_.cache_n;
  }
}

void StreamReader::read_choices(JsonReader& json) {
  if (json.peek() != JsonKind::kArray) {
    json.skip();
    return;
  }
  seen_.choices = true;
  json.enter_array();
  while (json.next_element()) {
    ++seen_.choice_count;
    if (json.peek() == JsonKind::kObject) {
      read_choice(json);
    } else {
      event_.meaning.plain = false;
      json.skip();
    }
  }
}

void StreamReader::read_choice(JsonReader& json) {
  JsonKey key;
  bool kept_before = false;
  json.enter_object();
  while (json.next_key(key)) {
    bool kept = true;
    if (key.raw == "delta" && chat_ && json.peek() == JsonKind::kObject) {
      read_delta(json);
    } else if (key.raw == "text" && !chat_) {
      read_text(json);
    } else if (key.raw == "finish_reason") {
      read_finish(json);
    } else if (key.raw == "token_ids") {
      read_ids(json, ids_);
    } else if (key.raw == "prompt_token_ids") {
      read_ids(json, prompt_ids_);
    } else if (key.raw == "logprobs") {
      kept = read_logprobs(json, key, kept_before);
    } else if (key.raw == "stop_reason") {
      event_.stop_reason = json.skip().of(json.document());
    } else if (key.raw == "index") {
      if (json.skip().of(json.document()) != "0") event_.meaning.plain = false;
    } else {
      json.skip();
    }
    kept_before = kept_before || kept;
  }
}

void StreamReader::read_delta(JsonReader& json) {
  JsonKey key;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "content") {
      read_text(json);
    } else if (key.raw == "role") {
      seen_.role = true;
      json.skip();
    } else if (!is_nothing(json.skip().of(json.document()))) {
      event_.meaning.plain = false;
    }
  }
}

/// Returns whether the member stays.
bool StreamReader::read_logprobs(JsonReader& json, const JsonKey& key, bool kept_before) {
  const std::string_view value = json.skip().of(json.document());
  if (json.failed() || value == "null") return true;
  // Only llama.cpp's chat endpoint is asked for logprobs, as the way to its ids.
  if (!options_.ids_added || options_.kind != Kind::kLlamaCpp || !chat_) {
    event_.meaning.plain = false;
    return true;
  }
  read_logprob_ids(value);
  edit(wire::json_cut(json.document(), key, json.offset(), kept_before), {});
  return false;
}

void StreamReader::read_logprob_ids(std::string_view value) {
  JsonReader json(value);
  JsonKey key;
  if (json.peek() != JsonKind::kObject) return;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw != "content" || json.peek() != JsonKind::kArray) {
      json.skip();
      continue;
    }
    json.enter_array();
    while (json.next_element()) {
      std::int64_t id = -1;
      if (json.peek() != JsonKind::kObject) {
        json.skip();
        continue;
      }
      json.enter_object();
      while (json.next_key(key)) {
        if (key.raw == "id")
          take_int(json, id);
        else
          json.skip();
      }
      if (id >= 0 && id <= INT32_MAX) ids_.push_back(static_cast<core::TokenId>(id));
    }
  }
}

void StreamReader::read_usage(std::string_view value) {
  JsonReader json(value);
  JsonKey key;
  if (json.peek() != JsonKind::kObject) return;
  seen_.usage = true;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "prompt_tokens")
      take_int(json, event_.meaning.prompt_tokens);
    else if (key.raw == "completion_tokens")
      take_int(json, event_.meaning.completion_tokens);
    else
      json.skip();
  }
}

void StreamReader::read_timings(std::string_view value) {
  JsonReader json(value);
  JsonKey key;
  if (json.peek() != JsonKind::kObject) return;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "predicted_n")
      take_int(json, event_.meaning.completion_tokens);
    else if (key.raw == "prompt_n")
      take_int(json, seen_.prompt_n);
    else if (key.raw == "cache_n")
      take_int(json, seen_.cache_n);
    else
      json.skip();
  }
}

void StreamReader::read_verbose(std::string_view value) {
  JsonReader json(value);
  JsonKey key;
  if (json.peek() != JsonKind::kObject) return;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "tokens")
      take_ids(json, ids_);
    else if (key.raw == "tokens_predicted")
      take_int(json, event_.meaning.completion_tokens);
    else if (key.raw == "tokens_evaluated")
      take_int(json, event_.meaning.prompt_tokens);
    else
      json.skip();
  }
}

void StreamReader::read_native(JsonReader& json) {
  bool stopped = false;
  std::string_view stop_type, stopping_word;
  const auto value = [&] { return json.skip().of(json.document()); };
  JsonKey key;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "content") {
      seen_.choices = true;
      read_text(json);
    } else if (key.raw == "tokens") {
      take_ids(json, ids_);
    } else if (key.raw == "stop") {
      stopped = value() == "true";
    } else if (key.raw == "stop_type") {
      stop_type = value();
    } else if (key.raw == "stopping_word") {
      stopping_word = value();
    } else if (key.raw == "tokens_predicted") {
      take_int(json, event_.meaning.completion_tokens);
    } else if (key.raw == "tokens_evaluated") {
      take_int(json, event_.meaning.prompt_tokens);
    } else if (key.raw == "index") {
      if (value() != "0") event_.meaning.plain = false;
    } else if (key.raw == "error") {
      read_error(value());
    } else {
      json.skip();
    }
  }
  seen_.choice_count = seen_.choices ? 1 : 0;
  if (!stopped || json.failed()) return;
  if (stop_type == "\"word\"") event_.stop_reason = stopping_word;
  event_.meaning.at_end_token = stop_type == "\"eos\"";
  // "none", or a word that we don't know: nothing says that this is the end of the answer.
  finish_text_ = stop_type == "\"limit\""                            ? "length"
                 : stop_type == "\"word\"" || stop_type == "\"eos\"" ? "stop"
                                                                     : "abort";
}

void StreamReader::read_error(std::string_view value) {
  if (value == "null") return;
  seen_.error = true;
  JsonReader json(value);
  JsonKey key;
  if (json.peek() == JsonKind::kString) json.read_string(error_message_);
  if (json.peek() != JsonKind::kObject) return;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "message" && json.peek() == JsonKind::kString)
      json.read_string(error_message_);
    else if (key.raw == "code")
      take_int(json, seen_.error_code);
    else if (key.raw == "type")
      seen_.error_is_clients = says_client_error(json.skip().of(value));
    else
      json.skip();
  }
}

void StreamReader::conclude() {
  core::UpstreamEvent& event = event_.meaning;
  event.ids = ids_;
  event.prompt_ids = prompt_ids_;
  event.text = text_;
  event.finish_text = finish_text_;
  event.finish = finish_of(finish_text_);
  event.error_message = error_message_;
  // Raw JSON: one that had to be escaped is left untold.
  const std::string_view reason = event_.stop_reason;
  if (reason.size() > 2 && reason.front() == '"' && reason.find('\\') == reason.npos) {
    event.stop_string = reason.substr(1, reason.size() - 2);
  }
  if (seen_.choice_count > 1) event.plain = false;
  if (seen_.error) {
    event.kind = EventKind::kError;
    const std::int64_t code = seen_.error_code;
    const bool is_4xx = code >= 400 && code < 500 && code != 408 && code != 429;
    event.client_error = code > 0 ? is_4xx : seen_.error_is_clients;
  } else if (seen_.choice_count == 0) {
    event.kind = seen_.choices && seen_.usage ? EventKind::kUsage : EventKind::kOther;
  } else {
    const bool says_role = seen_.role && ids_.empty() && text_.empty();
    event.kind = says_role && event.finish == Finish::kNone && event.plain ? EventKind::kRole
                                                                           : EventKind::kTokens;
  }
  if (event.kind == EventKind::kRole && replace_identity_) event_.drop = true;
}

/// Whether the engine wrote that member of this event only because we asked.
bool StreamReader::is_ours(Ours what) const {
  const bool has_choice = seen_.choice_count > 0;
  if (!options_.ids_added) return false;
  switch (what) {
    case Ours::kUsage:
      return options_.kind == Kind::kVllm && has_choice && !options_.continuous_usage;
    case Ours::kTimings:
      return options_.kind == Kind::kLlamaCpp && has_choice &&
             event_.meaning.finish == Finish::kNone;
    case Ours::kVerbose: return true;
  }
  return false;
}

void StreamReader::make_edits() {
  bool kept = false;
  for (const Removable& member : removables_) {
    if (!is_ours(member.what)) {
      kept = true;
      continue;
    }
    edit(wire::json_cut(event_.data, member.key, member.value_end, member.kept_before || kept), {});
  }
  const core::UpstreamEvent& event = event_.meaning;
  if (options_.ids_added && options_.kind == Kind::kVllm) {
    if (event.kind == EventKind::kUsage && !options_.include_usage) event_.drop = true;
    const bool is_last = seen_.choice_count > 0 && event.finish != Finish::kNone;
    if (is_last && !options_.include_usage && !seen_.fingerprint && !fingerprint_member_.empty()) {
      edit({seen_.object_end, seen_.object_end}, fingerprint_member_);
    }
  }
  std::sort(edits_.begin(), edits_.end(), [](const Edit& a, const Edit& b) { return a.at < b.at; });
}

namespace {

/// Appends a part of data that lay in several data lines. A line break in it is white space of
/// JSON.
void append_lines(std::string& out, std::string_view part) {
  for (const char c : part) {
    out.push_back(c);
    if (c == '\n') out.append("data: ");
  }
}

}  // namespace

void append_edited(std::string& out, std::string_view whole_event, const ReadEvent& event) {
  const std::string_view data = event.data;
  const std::less_equal<const char*> before;
  const bool inside = before(whole_event.data(), data.data()) &&
                      before(data.data() + data.size(), whole_event.data() + whole_event.size());
  if (event.edits.empty()) {
    out.append(whole_event);
    return;
  }
  const auto offset = inside ? static_cast<std::size_t>(data.data() - whole_event.data()) : 0;
  out.append(inside ? whole_event.substr(0, offset) : "data: ");
  std::size_t at = 0;
  const auto copy_until = [&](std::size_t end) {
    const std::string_view part = data.substr(at, end - at);
    if (inside)
      out.append(part);
    else
      append_lines(out, part);
  };
  for (const Edit& edit : event.edits) {
    if (edit.at < at) continue;
    copy_until(edit.at);
    out.append(edit.with);
    at = edit.at + edit.size;
  }
  copy_until(data.size());
  out.append(inside ? whole_event.substr(offset + data.size()) : "\n\n");
}

}  // namespace hf::engine
