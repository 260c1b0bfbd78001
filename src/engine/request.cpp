#include "engine/request.hpp"

#include <algorithm>
#include <charconv>

namespace hf::engine {
namespace {

using wire::JsonKey;
using wire::JsonKind;
using wire::JsonReader;

std::unexpected<Error> not_json(const JsonReader& json) {
  return fail(Code::kBadInput, "the body is not valid JSON (at byte " +
                                   std::to_string(json.offset()) + "), or is nested deeper than " +
                                   std::to_string(wire::kJsonDepthMax) + " levels");
}

bool read_double(std::string_view number, double& out) {
  const char* begin = number.data();
  const char* end = begin + number.size();
  const auto result = std::from_chars(begin, end, out);
  return result.ec == std::errc() && result.ptr == end;
}

bool is_neutral(JsonKind kind, std::string_view value) {
  double number = 1;
  switch (kind) {
    case JsonKind::kNull:
    case JsonKind::kFalse: return true;
    case JsonKind::kNumber: return read_double(value, number) && number == 0;
    case JsonKind::kString: return value.size() == 2;
    case JsonKind::kArray: {
      JsonReader json(value);
      return json.enter_array() && !json.next_element();
    }
    case JsonKind::kObject: {
      JsonReader json(value);
      JsonKey key;
      return json.enter_object() && !json.next_key(key);
    }
    case JsonKind::kTrue:
    case JsonKind::kBad: break;
  }
  return false;
}

/// Reads the fields that we must understand into the request. Every value is valid JSON here.
class Scan {
 public:
  explicit Scan(ClientRequest& request) : request_(request) {}

  Result<void> field(const Field& field);
  void conclude();

 private:
  void set(Feature feature) {
    request_.features |= std::uint64_t{1} << static_cast<unsigned>(feature);
  }
  void unread(const Field& field);
  void limit(const Field& field);
  void min_tokens(const Field& field);
  void stop(const Field& field);
  void stop_token_ids(const Field& field);
  void stream_options(const Field& field);
  void prompt(const Field& field);
  void messages(const Field& field);
  bool message_is_text(JsonReader& json);
  bool content_is_text(JsonReader& json);
  bool part_is_text(JsonReader& json);

  ClientRequest& request_;
};

void Scan::unread(const Field& field) {
  set(Feature::kUnreadValue);
  if (request_.unread_field.empty()) request_.unread_field = field.name;
}

void Scan::limit(const Field& field) {
  if (field.kind == JsonKind::kNull) return;
  std::int64_t value = 0;
  if (!wire::json_int(request_.value_of(field), value)) return unread(field);
  if (value < 0) return;
  if (request_.max_tokens && *request_.max_tokens != value) set(Feature::kTwoLimits);
  request_.max_tokens = std::min(value, request_.max_tokens.value_or(value));
}

void Scan::min_tokens(const Field& field) {
  if (field.kind == JsonKind::kNull) return;
  if (!wire::json_int(request_.value_of(field), request_.min_tokens)) unread(field);
}

void Scan::stop(const Field& field) {
  request_.stop.clear();
  JsonReader json(request_.value_of(field));
  const auto add = [&] {
    std::string text;
    if (!json.read_string(text)) return false;
    if (!text.empty()) request_.stop.push_back(std::move(text));
    return true;
  };
  if (field.kind == JsonKind::kNull) return;
  if (field.kind == JsonKind::kString) {
    add();
  } else if (field.kind == JsonKind::kArray) {
    json.enter_array();
    while (json.next_element()) {
      if (!add()) return unread(field);
    }
  } else {
    unread(field);
  }
}

void Scan::stop_token_ids(const Field& field) {
  request_.stop_token_ids.clear();
  if (field.kind == JsonKind::kNull) return;
  JsonReader json(request_.value_of(field));
  if (!wire::json_read_ints(json, request_.stop_token_ids)) unread(field);
}

void Scan::stream_options(const Field& field) {
  if (field.kind == JsonKind::kNull) return;
  if (field.kind != JsonKind::kObject) return unread(field);
  JsonReader json(request_.value_of(field));
  JsonKey key;
  json.enter_object();
  while (json.next_key(key)) {
    const JsonKind kind = json.peek();
    json.skip();
    const bool is_bool = kind == JsonKind::kTrue || kind == JsonKind::kFalse;
    if (!is_bool && kind != JsonKind::kNull) return unread(field);
    if (key.raw == "include_usage")
      request_.include_usage = kind == JsonKind::kTrue;
    else if (key.raw == "continuous_usage_stats")
      request_.continuous_usage = kind == JsonKind::kTrue;
    else
      set(Feature::kStreamOption);
  }
}

void Scan::prompt(const Field& field) {
  request_.prompt_bytes = field.value.size();
  if (field.kind == JsonKind::kString) return;
  if (field.kind != JsonKind::kArray) return unread(field);
  JsonReader json(request_.value_of(field));
  request_.has_prompt_ids =
      wire::json_read_ints(json, request_.prompt_ids) && !request_.prompt_ids.empty();
  if (request_.has_prompt_ids) return;
  request_.prompt_ids.clear();
  set(Feature::kPromptList);
}

bool Scan::part_is_text(JsonReader& json) {
  if (json.peek() != JsonKind::kObject) {
    json.skip();
    return false;
  }
  bool is_text = false;
  JsonKey key;
  json.enter_object();
  while (json.next_key(key)) {
    const std::string_view value = json.skip().of(json.document());
    if (key.raw == "type")
      is_text = value == "\"text\"";
    else if (key.raw != "text")
      return false;
  }
  return is_text;
}

bool Scan::content_is_text(JsonReader& json) {
  const JsonKind kind = json.peek();
  if (kind != JsonKind::kArray) {
    json.skip();
    return kind == JsonKind::kString || kind == JsonKind::kNull;
  }
  json.enter_array();
  while (json.next_element()) {
    if (!part_is_text(json)) return false;
  }
  return true;
}

bool Scan::message_is_text(JsonReader& json) {
  if (json.peek() != JsonKind::kObject) return false;
  JsonKey key;
  json.enter_object();
  while (json.next_key(key)) {
    // An escaped key could spell "content".
    if (key.escaped) return false;
    if (key.raw == "audio" && json.peek() != JsonKind::kNull) return false;
    if (key.raw != "content") {
      json.skip();
    } else if (!content_is_text(json)) {
      return false;
    }
  }
  return true;
}

void Scan::messages(const Field& field) {
  request_.prompt_bytes = field.value.size();
  if (field.kind != JsonKind::kArray) return unread(field);
  JsonReader json(request_.value_of(field));
  json.enter_array();
  while (json.next_element()) {
    if (message_is_text(json)) continue;
    set(Feature::kNonTextContent);
    return;
  }
}

Result<void> Scan::field(const Field& field) {
  const std::string& name = field.name;
  const bool is_true = field.kind == JsonKind::kTrue;
  if (name == "model") {
    request_.model.clear();
    if (field.kind == JsonKind::kNull) return {};
    JsonReader json(request_.value_of(field));
    if (!json.read_string(request_.model)) {
      return fail(Code::kBadInput, "'model' must be a string");
    }
  } else if (name == "stream") {
    request_.stream = is_true;
    if (!is_true && field.kind != JsonKind::kFalse && field.kind != JsonKind::kNull) {
      return fail(Code::kBadInput, "'stream' must be true or false");
    }
  } else if (name == "max_tokens" || name == "max_completion_tokens" || name == "n_predict") {
    limit(field);
  } else if (name == "min_tokens") {
    min_tokens(field);
  } else if (name == "stop") {
    stop(field);
  } else if (name == "stop_token_ids") {
    stop_token_ids(field);
  } else if (name == "stream_options") {
    stream_options(field);
  } else if (name == "ignore_eos") {
    request_.ignore_eos = is_true;
    if (!is_true && !field.neutral) unread(field);
  } else if (name == "temperature") {
    request_.greedy = field.kind == JsonKind::kNumber && field.neutral;
    if (field.kind != JsonKind::kNumber && field.kind != JsonKind::kNull) unread(field);
  } else if (name == "return_token_ids" || name == "return_tokens") {
    request_.wants_ids = request_.wants_ids || !field.neutral;
  } else if (name == "prompt" && request_.endpoint == core::Endpoint::kCompletions) {
    prompt(field);
  } else if (name == "messages" && request_.endpoint == core::Endpoint::kChat) {
    messages(field);
  }
  return {};
}

void Scan::conclude() {
  request_.continuous_usage = request_.continuous_usage && request_.include_usage;
  if (request_.min_tokens > 0 && !request_.stop.empty()) set(Feature::kMinTokensWithStop);
  std::vector<std::string_view> names;
  names.reserve(request_.fields.size());
  for (const Field& field : request_.fields) names.push_back(field.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin == names.end()) return;
  set(Feature::kDuplicateField);
  request_.duplicate_field = std::string(*twin);
}

Result<void> read_fields(ClientRequest& request) {
  JsonReader json(request.body);
  if (json.peek() != JsonKind::kObject) {
    if (!wire::json_valid(request.body)) return not_json(json);
    return fail(Code::kBadInput, "the body must be a JSON object");
  }
  JsonKey key;
  json.enter_object();
  while (json.next_key(key)) {
    if (request.fields.size() == kRequestFieldsMax) {
      return fail(Code::kTooLarge,
                  "the body has more than " + std::to_string(kRequestFieldsMax) + " fields");
    }
    Field field;
    if (!wire::json_unescape(key.raw, field.name)) return not_json(json);
    field.kind = json.peek();
    field.value = json.skip();
    field.member = {key.begin, field.value.end};
    field.neutral = !json.failed() && is_neutral(field.kind, field.value.of(request.body));
    request.fields.push_back(std::move(field));
  }
  if (!json.at_end()) return not_json(json);
  return {};
}

}  // namespace

std::string_view feature_name(Feature feature) {
  switch (feature) {
    case Feature::kDuplicateField: return "duplicate field";
    case Feature::kUnreadValue: return "unread value";
    case Feature::kTwoLimits: return "two limits";
    case Feature::kMinTokensWithStop: return "min_tokens with stop";
    case Feature::kPromptList: return "prompt list";
    case Feature::kNonTextContent: return "non-text content";
    case Feature::kStreamOption: return "unknown stream option";
  }
  return "unknown";
}

const Field* ClientRequest::find(std::string_view name) const {
  const auto field =
      std::find_if(fields.rbegin(), fields.rend(), [&](const Field& f) { return f.name == name; });
  return field == fields.rend() ? nullptr : &*field;
}

Result<ClientRequest> scan_request(core::Endpoint endpoint, std::string body) {
  ClientRequest request;
  request.endpoint = endpoint;
  request.body = std::move(body);
  if (auto read = read_fields(request); !read) return std::unexpected(read.error());
  Scan scan(request);
  for (const Field& field : request.fields) {
    if (auto read = scan.field(field); !read) return std::unexpected(read.error());
  }
  scan.conclude();
  return request;
}

std::int64_t choices_of(const ClientRequest& request) {
  if (request.has(Feature::kPromptList)) return 0;
  const auto* field = request.find("n");
  if (field == nullptr || field->neutral) return 1;
  std::int64_t n = 0;
  return wire::json_int(request.value_of(*field), n) && n > 0 ? n : 0;
}

}  // namespace hf::engine
