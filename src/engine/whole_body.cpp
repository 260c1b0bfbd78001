#include "engine/whole_body.hpp"

#include "engine/answers.hpp"

namespace hf::engine {

using wire::JsonKey;
using wire::JsonKind;
using wire::JsonReader;
using wire::JsonSpan;

namespace {

bool is_aborted(std::string_view choice) {
  const auto reason = find_string(choice, {"finish_reason"});
  return reason && (*reason == "abort" || *reason == "error");
}

}  // namespace

WholeVerdict judge_whole(Kind kind, std::string_view body) {
  // An error reads the same in an event and in a body.
  ReaderOptions options;
  options.kind = kind;
  StreamReader reader(std::move(options));
  const auto read = reader.read(body);
  JsonReader json(body);
  if (!read || json.peek() != JsonKind::kObject) return {core::Reason::kProtocol, false, {}};
  if (read->meaning.kind == core::EventKind::kError) {
    return {core::Reason::kInBandError, read->meaning.client_error,
            std::string(read->meaning.error_message)};
  }
  const auto choices = find_json(body, {"choices"});
  JsonReader list(choices.value_or(std::string_view()));
  if (list.peek() != JsonKind::kArray) return {};
  list.enter_array();
  while (list.next_element()) {
    const JsonSpan choice = list.skip();
    if (list.failed()) break;
    if (is_aborted(choice.of(*choices))) return {core::Reason::kAbort, false, {}};
  }
  return {};
}

/// The sample's own values.
struct WholeTemplate::Sample {
  Identity identity;
  std::string text, finish_reason, stop_reason, usage, timings;
  int choices = 0;
};

std::string_view WholeTemplate::value_hole(JsonReader& json, Hole hole) {
  const JsonSpan span = json.skip();
  if (json.failed()) return {};
  pieces_.push_back({std::string(json.document().substr(taken_, span.begin - taken_)), hole});
  taken_ = span.end;
  return span.of(json.document());
}

/// null, "", [] and {} say nothing of this answer, and so nothing of the next one.
bool WholeTemplate::read_nothing(JsonReader& json) {
  const std::string_view value = json.skip().of(json.document());
  return value == "null" || value == "\"\"" || value == "[]" || value == "{}";
}

bool WholeTemplate::read_message(JsonReader& json, Sample& sample) {
  JsonKey key;
  bool has_text = false;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "role") {
      if (json.skip().of(json.document()) != "\"assistant\"") return false;
    } else if (key.raw == "content") {
      if (json.peek() != JsonKind::kString) return false;
      JsonReader text(value_hole(json, Hole::kText));
      has_text = text.read_string(sample.text);
    } else if (!read_nothing(json)) {
      return false;
    }
  }
  return has_text && !json.failed();
}

bool WholeTemplate::read_choice(JsonReader& json, Sample& sample) {
  JsonKey key;
  bool has_text = false;
  if (!json.enter_object()) return false;
  while (json.next_key(key)) {
    if (key.raw == "index") {
      if (json.skip().of(json.document()) != "0") return false;
    } else if (key.raw == "message" && chat_) {
      if (json.peek() != JsonKind::kObject || !read_message(json, sample)) return false;
      has_text = true;
    } else if (key.raw == "text" && !chat_) {
      if (json.peek() != JsonKind::kString) return false;
      JsonReader text(value_hole(json, Hole::kText));
      has_text = text.read_string(sample.text);
    } else if (key.raw == "finish_reason") {
      if (json.peek() != JsonKind::kString) return false;
      JsonReader reason(value_hole(json, Hole::kFinish));
      reason.read_string(sample.finish_reason);
    } else if (key.raw == "stop_reason") {
      sample.stop_reason = value_hole(json, Hole::kStopReason);
    } else if (!read_nothing(json)) {
      return false;
    }
  }
  return has_text && !sample.finish_reason.empty() && !json.failed();
}

bool WholeTemplate::read_usage(std::string_view value) {
  JsonReader json(value);
  JsonKey key;
  if (!json.enter_object()) return false;
  while (json.next_key(key)) {
    const std::string_view member = json.skip().of(value);
    usage_.push_back({std::string(key.raw), member == "null"});
  }
  return !json.failed();
}

bool WholeTemplate::read_member(JsonReader& json, const JsonKey& key, Sample& sample) {
  if (key.raw == "id") {
    sample.identity.id = value_hole(json, Hole::kId);
  } else if (key.raw == "created") {
    sample.identity.created = value_hole(json, Hole::kCreated);
  } else if (key.raw == "model") {
    sample.identity.model = value_hole(json, Hole::kModel);
  } else if (key.raw == "object" || key.raw == "system_fingerprint") {
    json.skip();
  } else if (key.raw == "choices") {
    if (!json.enter_array()) return false;
    while (json.next_element()) {
      if (++sample.choices > 1 || !read_choice(json, sample)) return false;
    }
  } else if (key.raw == "usage") {
    sample.usage = value_hole(json, Hole::kUsage);
    return read_usage(sample.usage);
  } else if (key.raw == "timings" && kind_ == Kind::kLlamaCpp) {
    // It may be left out, so its comma goes with it: it is never the first member.
    if (key.previous < taken_ || key.begin == key.previous) return false;
    const std::size_t begin = key.previous;
    const JsonSpan span = json.skip();
    if (json.failed()) return false;
    pieces_.push_back(
        {std::string(json.document().substr(taken_, begin - taken_)), Hole::kTimings});
    taken_ = span.end;
    sample.timings = span.of(json.document());
  } else {
    return read_nothing(json);
  }
  return !json.failed();
}

bool WholeTemplate::read_top(JsonReader& json, Sample& sample) {
  JsonKey key;
  if (!json.enter_object()) return false;
  while (json.next_key(key)) {
    if (!read_member(json, key, sample)) return false;
  }
  return json.at_end() && sample.choices == 1 && !sample.usage.empty() &&
         !sample.identity.id.empty() && !sample.identity.created.empty();
}

std::optional<WholeTemplate> WholeTemplate::learn(Kind kind, core::Endpoint endpoint,
                                                  std::string_view body) {
  if (kind == Kind::kOpenAi) return std::nullopt;
  WholeTemplate learned;
  learned.kind_ = kind;
  learned.chat_ = endpoint == core::Endpoint::kChat;
  Sample sample;
  JsonReader json(body);
  if (!learned.read_top(json, sample)) return std::nullopt;
  learned.pieces_.push_back({std::string(body.substr(learned.taken_)), Hole::kEnd});
  WholeFill fill;
  fill.identity = &sample.identity;
  fill.text = sample.text;
  fill.finish_reason = sample.finish_reason;
  fill.stop_reason = sample.stop_reason;
  fill.counts.prompt = find_int(sample.usage, {"prompt_tokens"}).value_or(-1);
  fill.counts.completion = find_int(sample.usage, {"completion_tokens"}).value_or(-1);
  fill.usage = sample.usage;
  fill.timings = sample.timings;
  std::string again;
  learned.append(again, fill);
  if (again != body) return std::nullopt;
  return learned;
}

// Member by member, in the order of the template: a stream's usage has fewer than a whole one's.
void WholeTemplate::append_usage(std::string& out, const WholeFill& fill) const {
  bool first = true;
  const auto member = [&](std::string_view name) {
    if (!first) out.push_back(',');
    first = false;
    ((out.push_back('"'), out.append(name))).append("\":");
  };
  out.push_back('{');
  for (const auto& [name, is_null] : usage_) {
    if (name == "prompt_tokens") {
      member(name);
      wire::json_append_int(out, fill.counts.prompt);
    } else if (name == "completion_tokens") {
      member(name);
      wire::json_append_int(out, fill.counts.completion);
    } else if (name == "total_tokens") {
      member(name);
      wire::json_append_int(out, fill.counts.prompt + fill.counts.completion);
    } else if (const auto value = find_json(fill.usage, {name})) {
      member(name);
      out.append(*value);
    } else if (is_null || kind_ == Kind::kVllm) {
      member(name);  // vLLM's streams leave out what is null
      out.append("null");
    }
  }
  out.push_back('}');
}

void WholeTemplate::append(std::string& out, const WholeFill& fill) const {
  for (const Piece& piece : pieces_) {
    out.append(piece.literal);
    switch (piece.hole) {
      case Hole::kEnd: break;
      case Hole::kId: out.append(fill.identity->id); break;
      case Hole::kCreated: out.append(fill.identity->created); break;
      case Hole::kModel: out.append(fill.identity->model); break;
      case Hole::kText: wire::json_append_string(out, fill.text); break;
      case Hole::kFinish: wire::json_append_string(out, fill.finish_reason); break;
      case Hole::kStopReason:
        out.append(fill.stop_reason.empty() ? std::string_view("null") : fill.stop_reason);
        break;
      case Hole::kUsage: append_usage(out, fill); break;
      case Hole::kTimings:
        if (!fill.timings.empty()) out.append(",\"timings\":").append(fill.timings);
        break;
    }
  }
}

std::string_view WholeTemplate::content_type() const {
  return kind_ == Kind::kLlamaCpp ? "application/json; charset=utf-8" : "application/json";
}

}  // namespace hf::engine
