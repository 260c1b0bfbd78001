// llama.cpp: reading requests to generate, with its defaults and its errors.
#include <algorithm>
#include <boost/json.hpp>

#include "base/hash.hpp"
#include "simulator/llama_dialect.hpp"
#include "simulator/request_json.hpp"

namespace hf::simulator {
namespace json = boost::json;
namespace {

constexpr std::size_t kPromptsMax = 64;

struct Prompt {
  std::vector<TokenId> ids;
  std::string text;
};

Page invalid(std::string_view message) {
  return llama_error(400, message, "invalid_request_error");
}

bool is_id(const json::value& value) {
  return value.is_int64() || value.is_uint64();
}

// A prompt is a string, a list of ids, or a list of both; every string is tokenised on its own.
std::expected<Prompt, Page> read_prompt(const json::value& value, const DialectContext& context) {
  const Vocabulary& vocabulary = context.model->vocabulary();
  Prompt prompt;
  if (value.is_string()) {
    prompt.text = std::string_view(value.as_string());
    prompt.ids = vocabulary.tokenize(prompt.text, true, context.options->engine.add_bos);
    return prompt;
  }
  if (!value.is_array()) {
    return std::unexpected(invalid(
        "\"prompt\" elements must be a string, a list of tokens, or a list of mixed strings & "
        "tokens"));
  }
  for (const json::value& item : value.as_array()) {
    if (item.is_string()) {
      const std::string_view text = item.as_string();
      const bool bos = context.options->engine.add_bos && prompt.ids.empty();
      const auto ids = vocabulary.tokenize(text, true, bos);
      prompt.ids.insert(prompt.ids.end(), ids.begin(), ids.end());
      continue;
    }
    if (!item.is_int64() || item.as_int64() < 0 || item.as_int64() >= vocabulary.size()) {
      return std::unexpected(invalid("Prompt contains invalid tokens"));
    }
    prompt.ids.push_back(static_cast<TokenId>(item.as_int64()));
  }
  prompt.text = vocabulary.detokenize(prompt.ids, true);
  return prompt;
}

std::expected<std::vector<Prompt>, Page> read_prompts(const json::object& object,
                                                      const DialectContext& context) {
  const json::value* value = object.if_contains("prompt");
  if (value == nullptr) return std::unexpected(invalid("\"prompt\" is missing"));
  std::vector<const json::value*> items;
  const json::array* list = value->if_array();
  const bool many =
      list != nullptr && !list->empty() && std::none_of(list->begin(), list->end(), is_id);
  if (many) {
    for (const json::value& item : *list) items.push_back(&item);
  } else {
    items.push_back(value);
  }
  if (items.size() > kPromptsMax) return std::unexpected(invalid("too many prompts"));
  std::vector<Prompt> prompts;
  for (const json::value* item : items) {
    auto prompt = read_prompt(*item, context);
    if (!prompt) return std::unexpected(prompt.error());
    prompts.push_back(std::move(*prompt));
  }
  return prompts;
}

std::expected<std::vector<Prompt>, Page> read_messages(const json::object& object,
                                                       const DialectContext& context) {
  const json::value* messages = object.if_contains("messages");
  if (messages == nullptr || !messages->is_array() || messages->as_array().empty()) {
    return std::unexpected(invalid("'messages' is required"));
  }
  // An assistant's message at the end is continued.
  const json::object* last = messages->as_array().back().if_object();
  const bool prefilled = last != nullptr && json_text(*last, "role", "") == "assistant";
  auto text = render_chat(messages->as_array(), !prefilled, prefilled, context.options->images);
  if (!text) return std::unexpected(invalid("image input is not supported"));
  Prompt prompt;
  prompt.ids = context.model->vocabulary().tokenize(*text, true, context.options->engine.add_bos);
  prompt.text = std::move(*text);
  std::vector<Prompt> prompts;
  prompts.push_back(std::move(prompt));
  return prompts;
}

SequenceParams read_sampling(const json::object& object, const GenerateCall& call) {
  SequenceParams params;
  params.max_tokens = call.max_tokens;
  params.temperature = call.temperature;
  params.ignore_eos = json_bool(object, "ignore_eos", false);
  params.stop = read_stop(object);
  const json::value* lora = object.if_contains("lora");  // adapters by number, with their scales
  if (lora != nullptr && lora->is_array() && !lora->as_array().empty()) {
    params.adapter = hash_bytes(json::serialize(*lora));
  }
  const std::int64_t seed = json_int(object, "seed", -1);
  if (seed >= 0) params.seed = static_cast<std::uint64_t>(seed);
  return params;
}

void read_flags(const json::object& object, GenerateCall& call) {
  call.stream = json_bool(object, "stream", false);
  call.timings_per_token = json_bool(object, "timings_per_token", false);
  call.verbose = json_bool(object, "verbose", false);
  call.return_tokens = json_bool(object, "return_tokens", false);
  call.temperature = json_number(object, "temperature", -1);
  std::int64_t max_tokens = json_int(object, "max_tokens", -1);
  max_tokens = json_int(object, "max_completion_tokens", max_tokens);
  max_tokens = json_int(object, "n_predict", max_tokens);
  call.max_tokens = static_cast<std::int32_t>(std::clamp<std::int64_t>(max_tokens, -1, 1 << 30));
  if (const json::object* options = json_object(object, "stream_options")) {
    call.include_usage = json_bool(*options, "include_usage", false);
  }
  std::int64_t probs = json_int(object, "n_probs", 0);
  if (call.kind == GenerateCall::Kind::kChat) {
    if (json_bool(object, "logprobs", false)) probs = json_int(object, "top_logprobs", 0);
  } else if (call.kind == GenerateCall::Kind::kCompletions) {
    probs = json_int(object, "logprobs", probs);
  }
  call.logprobs = probs > 0 ? static_cast<std::int32_t>(std::min<std::int64_t>(probs, 20)) : -1;
}

}  // namespace

std::expected<GenerateCall, Page> LlamaDialect::parse(std::string_view path, std::string_view body,
                                                      const DialectContext& context) const {
  const auto object = parse_object(body);
  if (!object) {
    return std::unexpected(invalid("[json.exception.parse_error.101] parse error: syntax error"));
  }
  if (const char* key = not_a_number(
          *object, {"max_tokens", "n_predict", "temperature", "seed", "n_probs", "top_logprobs"})) {
    const json::value& value = object->at(key);
    const std::string_view type = value.is_string()   ? "string"
                                  : value.is_bool()   ? "boolean"
                                  : value.is_object() ? "object"
                                                      : "array";
    return std::unexpected(invalid(std::string("Field '") + key +
                                   "': [json.exception.type_error.302] type must be "
                                   "number, but is " +
                                   std::string(type)));
  }
  GenerateCall call;
  const bool chat = path == "/v1/chat/completions" || path == "/chat/completions";
  call.kind = chat                        ? GenerateCall::Kind::kChat
              : path == "/v1/completions" ? GenerateCall::Kind::kCompletions
                                          : GenerateCall::Kind::kNative;
  read_flags(*object, call);
  auto prompts = chat ? read_messages(*object, context) : read_prompts(*object, context);
  if (!prompts) return std::unexpected(prompts.error());
  SequenceParams params = read_sampling(*object, call);
  if (chat) call.reasoning = context.options->reasoning_tokens;
  if (const auto forced = chat ? forced_text(*object) : std::nullopt) {
    params.forced = context.model->vocabulary().tokenize(forced->text, false);
    call.tool_name = forced->tool_name;
    call.arguments_begin = forced->arguments_begin;
    call.arguments_end = forced->arguments_end;
    call.structured = true;
  }
  const auto n = static_cast<std::size_t>(std::clamp<std::int64_t>(
      json_int(*object, "n", 1), 1, static_cast<std::int64_t>(kPromptsMax)));
  for (const Prompt& prompt : *prompts) {
    const std::size_t tokens = prompt.ids.size();
    const auto context_len = static_cast<std::size_t>(context.options->engine.model_len);
    if (tokens >= context_len) {
      const std::string extra = ",\"n_prompt_tokens\":" + std::to_string(tokens) +
                                ",\"n_ctx\":" + std::to_string(context_len);
      return std::unexpected(llama_error(400,
                                         "request (" + std::to_string(tokens) +
                                             " tokens) exceeds the available context "
                                             "size (" +
                                             std::to_string(context_len) +
                                             " tokens), try increasing it",
                                         "exceed_context_size_error", extra));
    }
    call.prompt_tokens += static_cast<std::int64_t>(tokens);
    for (std::size_t i = 0; i < n; ++i) {
      params.prompt = prompt.ids;
      call.sequences.push_back(params);
      if (params.seed) *call.sequences.back().seed += i;
      call.prompt_texts.push_back(prompt.text);
    }
  }
  return call;
}

}  // namespace hf::simulator
