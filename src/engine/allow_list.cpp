#include "engine/allow_list.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace hf::engine {
namespace {

using enum Allowed;
using enum OnResume;
using enum Where;
using wire::JsonKind;

// vLLM counts presence and frequency penalties over the output only, repetition_penalty over prompt
// and output. bad_words of several tokens are matched in the output only.
constexpr FieldRule kVllmRules[] = {
    {"model", kAny, kRestate},
    {"messages", kAny, kLeave, kChat},
    {"prompt", kAny, kRestate, kCompletions},
    {"stream", kAny, kRestate},
    {"stream_options", kAny, kRestate},
    {"max_tokens", kAny, kRestate},
    {"max_completion_tokens", kAny, kRestate, kChat},
    {"min_tokens", kAny, kRestate},
    {"stop", kAny, kCopy},
    {"stop_token_ids", kAny, kCopy},
    {"ignore_eos", kAny, kCopy},
    {"temperature", kAny, kCopy},
    {"top_p", kAny, kCopy},
    {"top_k", kAny, kCopy},
    {"min_p", kAny, kCopy},
    {"seed", kAny, kCopy},
    {"repetition_penalty", kAny, kCopy},
    {"logit_bias", kAny, kCopy},
    {"allowed_token_ids", kAny, kCopy},
    {"priority", kAny, kCopy},
    {"cache_salt", kAny, kCopy},
    {"user", kAny, kCopy},
    {"request_id", kAny, kLeave},
    {"metadata", kAny, kLeave},
    {"store", kOff, kLeave},
    {"service_tier", kAny, kLeave},
    {"add_special_tokens", kAny, kRestate},
    {"add_generation_prompt", kAny, kLeave, kChat},
    {"continue_final_message", kAny, kLeave, kChat},
    {"chat_template", kAny, kLeave, kChat},
    {"chat_template_kwargs", kOff, kLeave, kChat},
    {"documents", kOff, kLeave, kChat},
    {"mm_processor_kwargs", kOff, kLeave, kChat},
    {"parallel_tool_calls", kAny, kLeave, kChat},
    {"tools", kOff, kLeave, kChat},
    {"tool_choice", kNone, kLeave, kChat},
    {"functions", kOff, kLeave, kChat},
    {"function_call", kNone, kLeave, kChat},
    {"response_format", kText, kLeave},
    {"structured_outputs", kOff, kLeave},
    {"guided_json", kOff, kLeave},
    {"guided_regex", kOff, kLeave},
    {"guided_choice", kOff, kLeave},
    {"guided_grammar", kOff, kLeave},
    {"reasoning_effort", kOff, kLeave, kChat},
    {"include_reasoning", kTrue, kLeave, kChat},
    {"thinking_token_budget", kNull, kLeave, kChat},
    {"presence_penalty", kOff, kLeave},
    {"frequency_penalty", kOff, kLeave},
    {"bad_words", kOff, kLeave},
    {"n", kOne, kLeave},
    {"best_of", kOne, kLeave},
    {"use_beam_search", kOff, kLeave},
    {"echo", kOff, kLeave},
    {"suffix", kOff, kLeave, kCompletions},
    {"prompt_embeds", kOff, kLeave, kCompletions},
    {"logprobs", kNull, kLeave},
    {"top_logprobs", kOff, kLeave, kChat},
    {"prompt_logprobs", kNull, kLeave},
    {"return_token_ids", kOff, kRestate},
    {"return_tokens_as_token_ids", kOff, kLeave},
    {"include_stop_str_in_output", kOff, kLeave},
    {"skip_special_tokens", kTrue, kLeave},
    {"spaces_between_special_tokens", kTrue, kLeave},
    {"truncate_prompt_tokens", kNull, kLeave},
    {"kv_transfer_params", kOff, kLeave},
    {"vllm_xargs", kOff, kLeave},
};

// llama.cpp's repeat window covers prompt and output. mirostat and the adaptive sampler carry state
// from token to token. lora ids, like all sampling fields, mean the same on the same identity only.
constexpr FieldRule kLlamaRules[] = {
    {"model", kAny, kLeave},
    {"messages", kAny, kLeave, kChat},
    {"prompt", kAny, kRestate, kCompletions},
    {"stream", kAny, kRestate},
    {"stream_options", kAny, kLeave},
    {"max_tokens", kAny, kRestate},
    {"max_completion_tokens", kAny, kRestate},
    {"n_predict", kAny, kRestate},
    {"stop", kAny, kRestate},
    {"ignore_eos", kAny, kCopy},
    {"temperature", kAny, kCopy},
    {"dynatemp_range", kAny, kCopy},
    {"dynatemp_exponent", kAny, kCopy},
    {"top_k", kAny, kCopy},
    {"top_p", kAny, kCopy},
    {"min_p", kAny, kCopy},
    {"top_n_sigma", kAny, kCopy},
    {"typical_p", kAny, kCopy},
    {"xtc_probability", kAny, kCopy},
    {"xtc_threshold", kAny, kCopy},
    {"min_keep", kAny, kCopy},
    {"samplers", kAny, kCopy},
    {"seed", kAny, kCopy},
    {"repeat_last_n", kAny, kCopy},
    {"repeat_penalty", kAny, kCopy},
    {"logit_bias", kAny, kCopy},
    {"cache_prompt", kAny, kCopy},
    {"lora", kAny, kCopy},
    {"id_slot", kNotPositive, kLeave},
    {"user", kAny, kLeave},
    {"metadata", kAny, kLeave},
    {"store", kOff, kLeave},
    {"service_tier", kAny, kLeave},
    {"add_generation_prompt", kAny, kLeave, kChat},
    {"chat_template_kwargs", kOff, kLeave, kChat},
    {"parallel_tool_calls", kAny, kLeave, kChat},
    {"tools", kOff, kLeave, kChat},
    {"tool_choice", kNone, kLeave, kChat},
    {"response_format", kText, kLeave},
    {"grammar", kOff, kLeave},
    {"json_schema", kOff, kLeave},
    {"reasoning_effort", kOff, kLeave, kChat},
    {"reasoning_format", kNone, kLeave, kChat},
    {"presence_penalty", kOff, kLeave},
    {"frequency_penalty", kOff, kLeave},
    {"dry_multiplier", kOff, kLeave},
    {"dry_base", kAny, kLeave},
    {"dry_allowed_length", kAny, kLeave},
    {"dry_penalty_last_n", kAny, kLeave},
    {"dry_sequence_breakers", kAny, kLeave},
    {"mirostat", kOff, kLeave},
    {"mirostat_tau", kAny, kLeave},
    {"mirostat_eta", kAny, kLeave},
    {"adaptive_target", kNotPositive, kLeave},
    {"adaptive_decay", kAny, kLeave},
    {"n_keep", kOff, kLeave},
    {"n_discard", kOff, kLeave},
    {"n_indent", kOff, kLeave},
    {"t_max_predict_ms", kNotPositive, kLeave},
    {"n", kOne, kLeave},
    {"best_of", kOne, kLeave},
    {"echo", kOff, kLeave},
    {"suffix", kOff, kLeave, kCompletions},
    {"logprobs", kNull, kLeave},
    {"top_logprobs", kOff, kLeave},
    {"n_probs", kOff, kLeave},
    {"post_sampling_probs", kOff, kLeave},
    {"timings_per_token", kOff, kLeave},
    {"return_tokens", kOff, kRestate},
    {"return_progress", kOff, kLeave},
    {"verbose", kOff, kLeave},
};

// What means the same to every engine that speaks OpenAI's API, SGLang included.
constexpr FieldRule kOpenAiRules[] = {
    {"model", kAny, kCopy},
    {"messages", kAny, kRestate, kChat},
    {"prompt", kAny, kRestate, kCompletions},
    {"stream", kAny, kCopy},
    {"stream_options", kAny, kCopy},
    {"max_tokens", kAny, kRestate},
    {"max_completion_tokens", kAny, kRestate, kChat},
    {"min_tokens", kAny, kRestate},
    {"stop", kAny, kCopy},
    {"stop_token_ids", kAny, kCopy},
    {"ignore_eos", kAny, kCopy},
    {"temperature", kAny, kCopy},
    {"top_p", kAny, kCopy},
    {"top_k", kAny, kCopy},
    {"min_p", kAny, kCopy},
    {"seed", kAny, kCopy},
    {"logit_bias", kAny, kCopy},
    {"repetition_penalty", kAny, kCopy},
    {"presence_penalty", kOff, kLeave},
    {"frequency_penalty", kOff, kLeave},
    {"user", kAny, kCopy},
    {"metadata", kAny, kCopy},
    {"store", kOff, kLeave},
    {"service_tier", kAny, kCopy},
    {"parallel_tool_calls", kAny, kCopy, kChat},
    {"tools", kOff, kLeave, kChat},
    {"tool_choice", kNone, kLeave, kChat},
    {"functions", kOff, kLeave, kChat},
    {"function_call", kNone, kLeave, kChat},
    {"response_format", kText, kLeave},
    {"reasoning_effort", kOff, kLeave, kChat},
    {"n", kOne, kLeave},
    {"best_of", kOne, kLeave, kCompletions},
    {"echo", kOff, kLeave, kCompletions},
    {"suffix", kOff, kLeave, kCompletions},
    {"logprobs", kNull, kLeave},
    {"top_logprobs", kOff, kLeave, kChat},
};

bool is_not_positive(std::string_view number) {
  double value = 1;
  const char* begin = number.data();
  const char* end = begin + number.size();
  const auto result = std::from_chars(begin, end, value);
  return result.ec == std::errc() && result.ptr == end && value <= 0;
}

bool is_text_format(std::string_view value) {
  wire::JsonReader json(value);
  wire::JsonKey key;
  bool is_text = false;
  json.enter_object();
  while (json.next_key(key)) {
    if (key.raw != "type") return false;
    is_text = json.skip().of(value) == "\"text\"";
  }
  return is_text && !json.failed();
}

bool matches(Where where, core::Endpoint endpoint) {
  return where == kBoth || (where == kChat) == (endpoint == core::Endpoint::kChat);
}

std::string_view words(Allowed allowed) {
  switch (allowed) {
    case kAny: return "any value";
    case kOff: return "only null, false, 0 or empty";
    case kNull: return "only null or false";
    case kOne: return "only null or 1";
    case kTrue: return "only null or true";
    case kNone: return "only null or \"none\"";
    case kText: return "only null or {\"type\":\"text\"}";
    case kNotPositive: return "only null or a number <= 0";
  }
  return "";
}

std::string_view words(OnResume on_resume) {
  switch (on_resume) {
    case kCopy: return "copied";
    case kRestate: return "stated anew";
    case kLeave: return "left out";
  }
  return "";
}

std::string_view words(Where where) {
  switch (where) {
    case kBoth: return "both";
    case kChat: return "chat";
    case kCompletions: return "completions";
  }
  return "";
}

}  // namespace

std::span<const FieldRule> field_rules(Kind kind) {
  switch (kind) {
    case Kind::kVllm: return kVllmRules;
    case Kind::kLlamaCpp: return kLlamaRules;
    case Kind::kOpenAi: return kOpenAiRules;
  }
  return {};
}

const FieldRule* find_rule(Kind kind, core::Endpoint endpoint, std::string_view name) {
  const auto rules = field_rules(kind);
  const auto rule = std::find_if(rules.begin(), rules.end(), [&](const FieldRule& r) {
    return r.name == name && matches(r.where, endpoint);
  });
  return rule == rules.end() ? nullptr : &*rule;
}

bool is_allowed(Allowed allowed, const ClientRequest& request, const Field& field) {
  if (field.kind == JsonKind::kNull) return true;
  const std::string_view value = request.value_of(field);
  switch (allowed) {
    case kAny: return true;
    case kOff: return field.neutral;
    case kNull: return field.kind == JsonKind::kFalse;
    case kOne: return value == "1";
    case kTrue: return field.kind == JsonKind::kTrue;
    case kNone: return value == "\"none\"";
    case kText: return field.kind == JsonKind::kObject && is_text_format(value);
    case kNotPositive: return field.kind == JsonKind::kNumber && is_not_positive(value);
  }
  return false;
}

std::string feature_table() {
  std::string out =
      "| field or feature | endpoint | vLLM: `tokens`, assembled | llama.cpp: `tokens`, assembled |"
      " OpenAI-like: `text` |\n"
      "| --- | --- | --- | --- | --- |\n";
  const auto cell = [&](Kind kind, core::Endpoint endpoint, std::string_view name) {
    const FieldRule* rule = find_rule(kind, endpoint, name);
    if (rule == nullptr) {
      out.append("no (unknown field)");
      return;
    }
    out.append(words(rule->allowed)).append("; ").append(words(rule->on_resume));
  };
  const auto row = [&](const FieldRule& rule) {
    const auto endpoint =
        rule.where == kChat ? core::Endpoint::kChat : core::Endpoint::kCompletions;
    out.append("| `").append(rule.name).append("` | ").append(words(rule.where)).append(" | ");
    cell(Kind::kVllm, endpoint, rule.name);
    out.append(" | ");
    cell(Kind::kLlamaCpp, endpoint, rule.name);
    out.append(" | ");
    cell(Kind::kOpenAi, endpoint, rule.name);
    out.append(" |\n");
  };
  for (const FieldRule& rule : kVllmRules) row(rule);
  for (const FieldRule& rule : kLlamaRules) {
    const auto same_name = [&](const FieldRule& r) { return r.name == rule.name; };
    if (std::none_of(std::begin(kVllmRules), std::end(kVllmRules), same_name)) row(rule);
  }
  for (std::size_t i = 0; i < kFeatureCount; ++i) {
    out.append("| ").append(feature_name(static_cast<Feature>(i)));
    out.append(" | both | no | no | no |\n");
  }
  out.append("| any other field | both | no | no | no |\n");
  out.append("| not streamed: `stream_options` | both | no | no | no |\n");
  out.append("| not streamed: no more than 32 tokens | both | no | no | no |\n");
  out.append("| not streamed: `stop` | both | yes | no | no |\n");
  out.append("| last message not the user's | chat | yes | yes | no |\n");
  out.append("| prompt of ids | completions | yes | yes | no |\n");
  return out;
}

}  // namespace hf::engine
