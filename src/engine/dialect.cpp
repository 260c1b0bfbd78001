#include "engine/dialect.hpp"

#include <algorithm>
#include <charconv>

#include "base/assert.hpp"
#include "engine/allow_list.hpp"
#include "engine/answers.hpp"
#include "wire/json.hpp"

namespace hf::engine {
namespace {

using core::Endpoint;

constexpr std::int64_t kVllmCompletionsDefault = 16;
constexpr std::int64_t kShortAnswer = 32;  // tokens
constexpr std::string_view kAllUsage = R"({"include_usage":true,"continuous_usage_stats":true})";
constexpr std::string_view kUsage = R"({"include_usage":true})";

std::string_view client_path(Endpoint endpoint) {
  return endpoint == Endpoint::kChat ? "/v1/chat/completions" : "/v1/completions";
}

/// Sets top-level members of a body, leaving every other byte.
class Splice {
 public:
  explicit Splice(const ClientRequest& request) : request_(request) {}

  void set(std::string_view name, std::string_view json) {
    if (const Field* field = request_.find(name)) {
      changes_.push_back({field->value, json});
      return;
    }
    front_.append(front_.empty() ? "\"" : ",\"").append(name).append("\":").append(json);
  }

  std::string body() {
    std::sort(changes_.begin(), changes_.end(),
              [](const Change& a, const Change& b) { return a.at.begin < b.at.begin; });
    const std::string& body = request_.body;
    std::string out;
    out.reserve(body.size() + front_.size() + 128);
    std::size_t from = body.find('{') + 1;
    out.append(body, 0, from).append(front_);
    if (!front_.empty() && !request_.fields.empty()) out.push_back(',');
    for (const Change& change : changes_) {
      out.append(body, from, change.at.begin - from).append(change.json);
      from = change.at.end;
    }
    return out.append(body, from, body.size() - from);
  }

 private:
  struct Change {
    wire::JsonSpan at;
    std::string_view json;
  };
  const ClientRequest& request_;
  std::string front_;
  std::vector<Change> changes_;
};

void append_prompt(std::string& out, const ResumeSpec& spec) {
  out.append("\"prompt\":[");
  bool first = true;
  for (const auto* ids : {&spec.prompt_ids, &spec.sent_ids}) {
    for (const core::TokenId id : *ids) {
      if (!first) out.push_back(',');
      first = false;
      wire::json_append_int(out, id);
    }
  }
  out.push_back(']');
}

void append_member(std::string& out, std::string_view name, std::int64_t value) {
  out.append(",\"").append(name).append("\":");
  wire::json_append_int(out, value);
}

void append_copies(std::string& out, Kind kind, const ClientRequest& request) {
  for (const Field& field : request.fields) {
    const FieldRule* rule = find_rule(kind, request.endpoint, field.name);
    if (rule == nullptr || rule->on_resume != OnResume::kCopy) continue;
    out.append(",\"").append(field.name).append("\":").append(request.value_of(field));
  }
}

std::string resume_vllm(const ClientRequest& request, const ResumeSpec& spec) {
  std::string out = "{";
  if (!request.model.empty()) {
    out.append("\"model\":");
    wire::json_append_string(out, request.model);
    out.push_back(',');
  }
  append_prompt(out, spec);
  append_member(out, "max_tokens", spec.max_tokens);
  if (spec.min_tokens > 0) append_member(out, "min_tokens", spec.min_tokens);
  out.append(",\"stream\":true,\"stream_options\":").append(kAllUsage);
  out.append(",\"return_token_ids\":true,\"add_special_tokens\":false");
  append_copies(out, Kind::kVllm, request);
  out.push_back('}');
  return out;
}

std::string resume_llama(const ClientRequest& request, const ResumeSpec& spec) {
  std::string out = "{";
  append_prompt(out, spec);
  append_member(out, "n_predict", spec.max_tokens);
  out.append(",\"stream\":true,\"return_tokens\":true");
  if (!request.stop.empty()) {
    // /completion reads a list only; a bare string would be ignored.
    out.append(",\"stop\":[");
    for (std::size_t i = 0; i < request.stop.size(); ++i) {
      if (i != 0) out.push_back(',');
      wire::json_append_string(out, request.stop[i]);
    }
    out.push_back(']');
  }
  append_copies(out, Kind::kLlamaCpp, request);
  out.push_back('}');
  return out;
}

/// The role of the last message; empty where there is none.
std::string last_role(const ClientRequest& request) {
  const Field* field = request.find("messages");
  if (field == nullptr || field->kind != wire::JsonKind::kArray) return {};
  const std::string_view messages = request.value_of(*field);
  wire::JsonReader json(messages);
  std::string_view last;
  json.enter_array();
  while (json.next_element()) last = json.skip().of(messages);
  return find_string(last, {"role"}).value_or(std::string());
}

/// The first thing that the fields say together which forbids mode `tokens`.
std::optional<std::string> feature_that_refuses(const ClientRequest& request) {
  for (std::size_t i = 0; i < kFeatureCount; ++i) {
    const auto feature = static_cast<Feature>(i);
    if (!request.has(feature)) continue;
    std::string name(feature_name(feature));
    if (feature == Feature::kDuplicateField) name += ": " + request.duplicate_field;
    if (feature == Feature::kUnreadValue) name += ": " + request.unread_field;
    return name;
  }
  return std::nullopt;
}

void add(double& sum, double value) {
  sum = sum < 0 ? value : sum + value;
}

void read_metric(EngineLoad& load, std::string_view name, double value) {
  if (name == "vllm:num_requests_running" || name == "llamacpp:requests_processing") {
    add(load.running, value);
  } else if (name == "vllm:num_requests_waiting" || name == "llamacpp:requests_deferred") {
    add(load.waiting, value);
  } else if (name == "vllm:kv_cache_usage_perc" || name == "vllm:gpu_cache_usage_perc" ||
             name == "llamacpp:kv_cache_usage_ratio") {
    load.kv_used = std::clamp(std::max(load.kv_used, value), 0.0, 1.0);
  } else if (name == "vllm:prompt_tokens_total" || name == "llamacpp:prompt_tokens_total") {
    add(load.prompt_tokens_total, value);
  } else if (name == "vllm:generation_tokens_total" || name == "llamacpp:tokens_predicted_total") {
    add(load.generation_tokens_total, value);
  }
}

void read_metric_line(EngineLoad& load, std::string_view line) {
  if (line.empty() || line[0] == '#') return;
  const std::size_t name_end = line.find_first_of("{ \t");
  if (name_end == std::string_view::npos) return;
  const std::size_t labels_end = line[name_end] == '{' ? line.rfind('}') : name_end - 1;
  if (labels_end == std::string_view::npos) return;
  const std::size_t begin = line.find_first_not_of(" \t", labels_end + 1);
  if (begin == std::string_view::npos) return;
  double value = -1;
  const auto result = std::from_chars(line.data() + begin, line.data() + line.size(), value);
  const bool is_number = result.ec == std::errc() && value >= 0 && value < 1e18;
  if (is_number) read_metric(load, line.substr(0, name_end), value);
}

}  // namespace

std::string_view to_string(Kind kind) {
  switch (kind) {
    case Kind::kVllm: return "vllm";
    case Kind::kLlamaCpp: return "llama.cpp";
    case Kind::kOpenAi: return "openai";
  }
  return "unknown";
}

const Dialect& Dialect::of(Kind kind) {
  static const Dialect vllm(Kind::kVllm);
  static const Dialect llama(Kind::kLlamaCpp);
  static const Dialect openai(Kind::kOpenAi);
  switch (kind) {
    case Kind::kVllm: return vllm;
    case Kind::kLlamaCpp: return llama;
    case Kind::kOpenAi: break;
  }
  return openai;
}

std::optional<std::string> Dialect::tokens_refused_by(const ClientRequest& request) const {
  if (kind_ == Kind::kOpenAi) return "engine without a token endpoint";
  if (auto feature = feature_that_refuses(request)) return feature;
  for (const Field& field : request.fields) {
    const FieldRule* rule = find_rule(kind_, request.endpoint, field.name);
    if (rule == nullptr) return "unknown field: " + field.name;
    if (!is_allowed(rule->allowed, request, field)) return field.name;
  }
  return request.stream ? std::nullopt : assembly_refused_by(request);
}

std::optional<std::string> Dialect::text_refused_by(const ClientRequest& request) const {
  if (!request.stream) return "no stream";
  if (auto feature = feature_that_refuses(request)) return feature;
  if (request.has_prompt_ids) return "prompt of ids";
  for (const Field& field : request.fields) {
    const FieldRule* rule = find_rule(kind_, request.endpoint, field.name);
    if (rule == nullptr) return "unknown field: " + field.name;
    if (!is_allowed(rule->allowed, request, field)) return field.name;
    const bool own_prefix =
        field.name == "continue_final_message" || field.name == "add_generation_prompt";
    if (own_prefix && field.kind != wire::JsonKind::kNull) return field.name;
  }
  if (request.endpoint == Endpoint::kChat && last_role(request) != "user") return "last message";
  return std::nullopt;
}

WireRequest Dialect::resume_text(const ClientRequest& request, const TextSpec& spec) const {
  WireRequest out;
  out.path = client_path(request.endpoint);
  const bool chat = request.endpoint == Endpoint::kChat;
  const Field* field = request.find(chat ? "messages" : "prompt");
  HF_ASSERT(field != nullptr);
  std::string prompt(request.value_of(*field));
  prompt.pop_back();  // the bracket of the messages, or the quote of the prompt
  std::string text;
  wire::json_append_string(text, spec.text);
  if (chat) {
    prompt += R"(,{"role":"assistant","content":)" + text + "}]";
  } else {
    prompt += std::string_view(text).substr(1);
  }
  Splice splice(request);
  splice.set(field->name, prompt);
  if (chat && kind_ != Kind::kLlamaCpp) {
    splice.set("add_generation_prompt", "false");
    splice.set("continue_final_message", "true");
  }
  const std::string limit = std::to_string(spec.max_tokens);
  const std::string minimum = std::to_string(std::max<std::int64_t>(spec.min_tokens, 0));
  bool has_limit = false;
  for (const std::string_view name : {"max_tokens", "max_completion_tokens", "n_predict"}) {
    const Field* own = request.find(name);
    if (own == nullptr || own->kind == wire::JsonKind::kNull || spec.max_tokens <= 0) continue;
    splice.set(name, limit);
    has_limit = true;
  }
  if (!has_limit && spec.max_tokens > 0) splice.set("max_tokens", limit);
  if (request.min_tokens > 0) splice.set("min_tokens", minimum);
  out.body = splice.body();
  return out;
}

std::optional<std::string> Dialect::assembly_refused_by(const ClientRequest& request) const {
  const Field* options = request.find("stream_options");
  if (options != nullptr && options->kind != wire::JsonKind::kNull) return "stream_options";
  const std::int64_t limit = default_max_tokens(request, 0, 0);
  if (limit >= 0 && limit <= kShortAnswer) return "short answer";
  // Measured: a stream that reaches its limit drops the text that it holds back for a stop string;
  // the whole body shows it.
  if (kind_ == Kind::kLlamaCpp && !request.stop.empty()) return "stop";
  return std::nullopt;
}

WireRequest Dialect::first(const ClientRequest& request, bool with_ids) const {
  WireRequest out;
  out.path = client_path(request.endpoint);
  if (!with_ids || tokens_refused_by(request)) {
    out.body = request.body;
    return out;
  }
  Splice splice(request);
  if (!request.stream) {
    splice.set("stream", "true");
    if (kind_ == Kind::kLlamaCpp) splice.set("stream_options", kUsage);
  }
  if (kind_ == Kind::kVllm) {
    splice.set("return_token_ids", "true");
    splice.set("stream_options", kAllUsage);
  } else if (request.endpoint == Endpoint::kChat) {
    splice.set("logprobs", "true");
    splice.set("top_logprobs", "1");
    splice.set("timings_per_token", "true");
  } else {
    splice.set("verbose", "true");
  }
  out.body = splice.body();
  out.ids_added = true;
  return out;
}

WireRequest Dialect::resume(const ClientRequest& request, const ResumeSpec& spec) const {
  HF_ASSERT(kind_ != Kind::kOpenAi);
  HF_ASSERT(spec.max_tokens > 0);
  WireRequest out;
  const bool vllm = kind_ == Kind::kVllm;
  out.path = vllm ? "/v1/completions" : "/completion";
  out.body = vllm ? resume_vllm(request, spec) : resume_llama(request, spec);
  out.ids_added = true;
  return out;
}

std::int64_t Dialect::default_max_tokens(const ClientRequest& request, std::int64_t model_len,
                                         std::int64_t prompt_tokens) const {
  const std::int64_t fits =
      model_len > 0 ? std::max<std::int64_t>(0, model_len - prompt_tokens) : -1;
  std::optional<std::int64_t> limit = request.max_tokens;
  if (!limit && kind_ == Kind::kVllm && request.endpoint == Endpoint::kCompletions) {
    limit = kVllmCompletionsDefault;
  }
  if (!limit) return fits;
  return fits < 0 ? *limit : std::min(*limit, fits);
}

std::string_view Dialect::health_path() const {
  return kind_ == Kind::kOpenAi ? "/v1/models" : "/health";
}

std::string_view Dialect::metrics_path() const {
  return kind_ == Kind::kOpenAi ? std::string_view() : "/metrics";
}

Result<ClientRequest> with_model(const ClientRequest& request, std::string_view model) {
  std::string name;
  wire::json_append_string(name, model);
  Splice splice(request);
  splice.set("model", name);
  return scan_request(request.endpoint, splice.body());
}

EngineLoad Dialect::load(std::string_view metrics_page) const {
  EngineLoad load;
  while (!metrics_page.empty()) {
    const std::size_t end = std::min(metrics_page.find('\n'), metrics_page.size());
    read_metric_line(load, metrics_page.substr(0, end));
    metrics_page.remove_prefix(std::min(end + 1, metrics_page.size()));
  }
  return load;
}

}  // namespace hf::engine
