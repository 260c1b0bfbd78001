#include "engine/skeleton.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace hf::engine {

namespace {

/// An engine that says the role in every delta never shows anything better.
constexpr int kLooksMax = 16;

}  // namespace

using wire::JsonKey;
using wire::JsonKind;
using wire::JsonReader;
using wire::JsonSpan;

Skeleton::Skeleton(SkeletonOptions options)
    : options_(std::move(options)), chat_(options_.endpoint == core::Endpoint::kChat) {}

void Skeleton::hole(JsonReader& json, std::size_t at, Hole kind) {
  if (at < taken_ || at > json.document().size()) return;
  pieces_.push_back({std::string(json.document().substr(taken_, at - taken_)), kind});
  taken_ = at;
}

std::string_view Skeleton::value_hole(JsonReader& json, Hole kind) {
  const JsonSpan span = json.skip();
  if (json.failed()) return {};
  hole(json, span.begin, kind);
  taken_ = span.end;
  return span.of(json.document());
}

void Skeleton::bracket(JsonReader& json, const JsonKey& key, Hole kind) {
  // What is bracketed follows "choices" or "object", so it is never the first of its object.
  if (json.failed() || key.previous < taken_) return;
  hole(json, key.previous, kind);
  hole(json, json.offset(), Hole::kResume);
}

void Skeleton::capture_usage(JsonReader& json) {
  JsonKey key;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "prompt_tokens")
      value_hole(json, Hole::kPromptTokens);
    else if (key.raw == "completion_tokens")
      value_hole(json, Hole::kCompletionTokens);
    else if (key.raw == "total_tokens")
      value_hole(json, Hole::kTotalTokens);
    else
      json.skip();
  }
}

void Skeleton::capture_choice(JsonReader& json) {
  const bool vllm_chat = options_.kind == Kind::kVllm && chat_;
  bool has_token_ids = false;
  JsonKey key;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw == "delta" && chat_) {
      const std::string_view delta = value_hole(json, Hole::kDelta);
      says_role_ = delta.find("\"role\"") != std::string_view::npos;
    } else if (key.raw == "text" && !chat_) {
      value_hole(json, Hole::kText);
    } else if (key.raw == "finish_reason") {
      says_finish_ = value_hole(json, Hole::kFinish) != "null";
      // vLLM's chat tells what stopped it in the last event only, here.
      if (vllm_chat) hole(json, json.offset(), Hole::kStopReasonMember);
    } else if (key.raw == "stop_reason" && vllm_chat) {
      json.skip();
      bracket(json, key, Hole::kNever);
    } else if (key.raw == "stop_reason") {
      value_hole(json, Hole::kStopReason);
    } else {
      has_token_ids = has_token_ids || key.raw == "token_ids";
      json.skip();
    }
  }
  if (vllm_chat && says_role_ && !has_token_ids && !json.failed()) {
    hole(json, json.offset() - 1, Hole::kTokenIdsMember);
  }
}

void Skeleton::capture_choices(JsonReader& json) {
  if (json.peek() != JsonKind::kArray) {
    json.skip();
    return;
  }
  json.enter_array();
  hole(json, json.offset(), Hole::kOnlyWithChoice);
  while (json.next_element()) {
    if (!has_choice_ && json.peek() == JsonKind::kObject) {
      has_choice_ = true;
      capture_choice(json);
    } else {
      json.skip();
    }
  }
  if (json.failed()) return;
  hole(json, json.offset() - 1, Hole::kResume);
}

void Skeleton::capture_top(JsonReader& json) {
  const bool llama = options_.kind == Kind::kLlamaCpp;
  bool first = true;
  JsonKey key;
  json.enter_object();
  for (; json.next_key(key); first = false) {
    if (key.raw == "choices") {
      capture_choices(json);
      if (!llama && !json.failed()) hole(json, json.offset(), Hole::kUsageMember);
    } else if (key.raw == "usage" && !first && json.peek() == JsonKind::kObject) {
      hole(json, key.previous, options_.continuous_usage ? Hole::kOnlyWithChoice : Hole::kNever);
      capture_usage(json);
      if (!json.failed()) hole(json, json.offset(), Hole::kResume);
    } else if (key.raw == "object" && llama) {
      json.skip();
      if (!json.failed()) {
        hole(json, json.offset(), chat_ ? Hole::kUsageMember : Hole::kFinishUsageMember);
      }
    } else if (!first && (key.raw == "prompt_token_ids" || key.raw == "prompt_text") && chat_) {
      json.skip();
      bracket(json, key, Hole::kOnlyWithRole);
    } else if (!first && (key.raw == "timings" ||
                          (key.raw == "system_fingerprint" && options_.kind == Kind::kVllm))) {
      const JsonSpan value = json.skip();
      if (key.raw != "timings" && options_.fingerprint.empty() && !json.failed()) {
        options_.fingerprint = value.of(json.document());
      }
      bracket(json, key, Hole::kNever);
    } else {
      json.skip();
    }
  }
  if (json.failed()) return;
  if (options_.kind == Kind::kVllm) hole(json, json.offset() - 1, Hole::kFingerprintMember);
  hole(json, json.document().size(), Hole::kEnd);
}

void Skeleton::capture(std::string_view edited_data) {
  if (settled_ || !wire::json_valid(edited_data)) return;
  if (++looked_at_ > kLooksMax && ready_) settled_ = true;
  JsonReader json(edited_data);
  if (json.peek() != JsonKind::kObject) return;
  std::vector<Piece> before = std::exchange(pieces_, {});
  taken_ = 0;
  has_choice_ = says_role_ = says_finish_ = false;
  capture_top(json);
  if (!has_choice_ || json.failed() || (ready_ && (says_role_ || says_finish_))) {
    pieces_ = std::move(before);
    return;
  }
  ready_ = true;
  settled_ = !says_role_ && !says_finish_;
}

void Skeleton::capture_event(std::string_view edited_event) {
  if (settled_) return;
  std::size_t at = 0;
  if (!edited_event.starts_with("data:")) {
    at = edited_event.find("\ndata:");
    if (at == std::string_view::npos) return;
    ++at;
  }
  std::string_view data = edited_event.substr(at + 5);
  while (!data.empty() && (data.back() == '\n' || data.back() == '\r')) data.remove_suffix(1);
  if (data.starts_with(' ')) data.remove_prefix(1);
  capture(data);
}

bool Skeleton::is_bracket(Hole kind) {
  return kind == Hole::kNever || kind == Hole::kOnlyWithChoice || kind == Hole::kOnlyWithRole;
}

bool Skeleton::skips(Hole kind, What what) {
  switch (kind) {
    case Hole::kNever: return true;
    case Hole::kOnlyWithChoice: return what == What::kUsage;
    case Hole::kOnlyWithRole: return what != What::kRole;
    default: return false;
  }
}

void Skeleton::write(std::string& out, const Fill& fill) const {
  HF_ASSERT(ready_);
  out.append("data: ");
  int depth = 0;       // brackets nest: a member of a choice lies within the choices
  int skip_depth = 0;  // of the bracket that is left out; 0: none
  for (const Piece& piece : pieces_) {
    if (skip_depth == 0) out.append(piece.literal);
    if (is_bracket(piece.hole)) {
      ++depth;
      if (skip_depth == 0 && skips(piece.hole, fill.what)) skip_depth = depth;
    } else if (piece.hole == Hole::kResume) {
      if (skip_depth == depth) skip_depth = 0;
      --depth;
    } else if (skip_depth == 0) {
      write_hole(out, piece.hole, fill);
    }
  }
  out.append("\n\n");
}

void Skeleton::write_delta(std::string& out, const Fill& fill) const {
  if (fill.what == What::kRole) {
    out.append(options_.kind == Kind::kLlamaCpp ? R"({"role":"assistant","content":null})"
                                                : R"({"role":"assistant","content":""})");
  } else if (fill.text.empty()) {
    out.append("{}");
  } else {
    out.append("{\"content\":");
    wire::json_append_string(out, fill.text);
    out.push_back('}');
  }
}

void Skeleton::write_usage(std::string& out, Counts counts) const {
  const auto number = [&](std::string_view name, std::int64_t value) {
    out.append(name);
    wire::json_append_int(out, value);
  };
  const bool llama = options_.kind == Kind::kLlamaCpp;
  const std::int64_t total = counts.prompt + counts.completion;
  out.append(",\"usage\":{");
  if (llama) number("\"completion_tokens\":", counts.completion);
  number(llama ? ",\"prompt_tokens\":" : "\"prompt_tokens\":", counts.prompt);
  number(",\"total_tokens\":", total);
  if (!llama) number(",\"completion_tokens\":", counts.completion);
  out.push_back('}');
}

void Skeleton::write_hole(std::string& out, Hole kind, const Fill& fill) const {
  const bool is_finish = fill.what == What::kFinish;
  const std::string_view stop_reason =
      is_finish && !fill.stop_reason.empty() ? fill.stop_reason : "null";
  switch (kind) {
    case Hole::kDelta: return write_delta(out, fill);
    case Hole::kText: return wire::json_append_string(out, fill.text);
    case Hole::kFinish:
      if (is_finish)
        wire::json_append_string(out, fill.finish_text);
      else
        out.append("null");
      return;
    case Hole::kStopReason: out.append(stop_reason); return;
    case Hole::kStopReasonMember:
      if (is_finish) out.append(",\"stop_reason\":").append(stop_reason);
      return;
    case Hole::kTokenIdsMember:
      if (fill.what != What::kRole) out.append(",\"token_ids\":null");
      return;
    case Hole::kPromptTokens: return wire::json_append_int(out, fill.counts.prompt);
    case Hole::kCompletionTokens: return wire::json_append_int(out, fill.counts.completion);
    case Hole::kTotalTokens:
      return wire::json_append_int(out, fill.counts.prompt + fill.counts.completion);
    case Hole::kUsageMember:
      if (fill.what == What::kUsage) write_usage(out, fill.counts);
      return;
    case Hole::kFinishUsageMember:
      if (is_finish) write_usage(out, fill.counts);
      return;
    case Hole::kFingerprintMember: {
      const bool is_last = fill.what == What::kUsage || (is_finish && !options_.include_usage);
      if (is_last && !options_.fingerprint.empty()) {
        out.append(",\"system_fingerprint\":").append(options_.fingerprint);
      }
      return;
    }
    case Hole::kEnd:
    case Hole::kOnlyWithChoice:
    case Hole::kOnlyWithRole:
    case Hole::kNever:
    case Hole::kResume: return;
  }
}

void Skeleton::append_role(std::string& out, Counts counts) const {
  write(out, {What::kRole, {}, {}, {}, counts});
}

void Skeleton::append_delta(std::string& out, std::string_view text, Counts counts) const {
  write(out, {What::kDelta, text, {}, {}, counts});
}

void Skeleton::append_finish(std::string& out, std::string_view text, std::string_view finish_text,
                             std::string_view stop_reason, Counts counts) const {
  if (options_.kind == Kind::kLlamaCpp && !text.empty()) {
    append_delta(out, text, counts);
    text = {};
  }
  write(out, {What::kFinish, text, finish_text, stop_reason, counts});
}

void Skeleton::append_usage(std::string& out, Counts counts) const {
  const bool in_finish = options_.kind == Kind::kLlamaCpp && !chat_;
  if (!options_.include_usage || in_finish) return;
  write(out, {What::kUsage, {}, {}, {}, counts});
}

}  // namespace hf::engine
