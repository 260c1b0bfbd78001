// vLLM: reading requests to generate, with its defaults and its errors.
#include <algorithm>
#include <boost/json.hpp>

#include "base/hash.hpp"
#include "simulator/request_json.hpp"
#include "simulator/vllm_dialect.hpp"

namespace hf::simulator {
namespace json = boost::json;
namespace {

constexpr std::int32_t kCompletionsMaxTokens = 16;  // the endpoint's default
constexpr std::int64_t kChoicesMax = 64;

struct Prompt {
  std::vector<TokenId> ids;
  std::string text;
};

Page bad_request(std::string_view message, std::string_view param = {}) {
  return vllm_error(400, message, "BadRequestError", param);
}

Page bad_type(const json::object& object, const char* key) {
  const json::value& value = *object.if_contains(key);
  const std::string input = value.is_string()
                                ? "'" + std::string(std::string_view(value.as_string())) + "'"
                                : json::serialize(value);
  const std::string loc = std::string("body.") + key;
  const std::string message = "1 validation error:\n  {'type': 'int_parsing', 'loc': '" + loc +
                              "', 'msg': 'Input should be a valid integer, unable to parse string "
                              "as an integer', 'input': " +
                              input + "}";
  return vllm_error(400, message, "Bad Request", loc);
}

std::expected<Prompt, Page> check_ids(std::vector<TokenId> ids, const Vocabulary& vocabulary) {
  for (const TokenId id : ids) {
    if (!vocabulary.valid(id)) {
      return std::unexpected(
          bad_request("Token id " + std::to_string(id) + " is out of vocabulary"));
    }
  }
  Prompt prompt;
  prompt.text = vocabulary.detokenize(ids, true);
  prompt.ids = std::move(ids);
  return prompt;
}

std::expected<Prompt, Page> read_prompt(const json::value& value, bool add_special,
                                        const DialectContext& context) {
  const Vocabulary& vocabulary = context.model->vocabulary();
  if (value.is_string()) {
    Prompt prompt;
    prompt.text = std::string_view(value.as_string());
    prompt.ids =
        vocabulary.tokenize(prompt.text, true, add_special && context.options->engine.add_bos);
    return prompt;
  }
  std::vector<TokenId> ids;
  if (!read_ids(value, ids)) {
    return std::unexpected(bad_request("prompt must be a string or a list of token ids", "prompt"));
  }
  return check_ids(std::move(ids), vocabulary);
}

std::expected<std::vector<Prompt>, Page> read_prompts(const json::object& object,
                                                      const DialectContext& context) {
  const json::value* value = object.if_contains("prompt");
  if (value == nullptr || value->is_null()) {
    return std::unexpected(bad_request("Either prompt or prompt_embeds must be provided"));
  }
  const bool add_special = json_bool(object, "add_special_tokens", true);
  const bool list = value->is_array() && !value->as_array().empty() &&
                    !value->as_array()[0].is_int64() && !value->as_array()[0].is_uint64();
  std::vector<Prompt> prompts;
  const auto take = [&](const json::value& item) -> std::optional<Page> {
    auto prompt = read_prompt(item, add_special, context);
    if (!prompt) return prompt.error();
    prompts.push_back(std::move(*prompt));
    return std::nullopt;
  };
  if (!list) {
    if (auto error = take(*value)) return std::unexpected(*error);
    return prompts;
  }
  if (value->as_array().size() > static_cast<std::size_t>(kChoicesMax)) {
    return std::unexpected(bad_request("too many prompts", "prompt"));
  }
  for (const json::value& item : value->as_array()) {
    if (auto error = take(item)) return std::unexpected(*error);
  }
  return prompts;
}

std::expected<std::vector<Prompt>, Page> read_messages(const json::object& object,
                                                       const DialectContext& context) {
  const json::value* messages = object.if_contains("messages");
  if (messages == nullptr || !messages->is_array()) {
    return std::unexpected(vllm_error(
        400,
        "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field "
        "required'}",
        "Bad Request", "body.messages"));
  }
  if (messages->as_array().empty()) {
    return std::unexpected(bad_request(
        "Cannot apply chat template to an empty conversation. Provide at least one message."));
  }
  auto text =
      render_chat(messages->as_array(), json_bool(object, "add_generation_prompt", true),
                  json_bool(object, "continue_final_message", false), context.options->images);
  if (!text)
    return std::unexpected(bad_request(context.options->model + " is not a multimodal model"));
  Prompt prompt;
  prompt.ids = context.model->vocabulary().tokenize(
      *text, true,
      json_bool(object, "add_special_tokens", false) && context.options->engine.add_bos);
  prompt.text = std::move(*text);
  std::vector<Prompt> prompts;
  prompts.push_back(std::move(prompt));
  return prompts;
}

Page too_long(std::int64_t tokens, std::int64_t wanted, std::int64_t model_len) {
  const bool alone = tokens >= model_len;
  const std::string at_least = std::to_string(alone ? model_len + 1 : tokens);
  const std::string start =
      "This model's maximum context length is " + std::to_string(model_len) + " tokens. However, ";
  const std::string end = " (parameter=input_tokens, value=" + at_least + ")";
  if (alone) {
    return bad_request(start + "your prompt contains at least " + at_least +
                           " input tokens, which exceeds this limit even without any output "
                           "tokens. Please reduce the length of the input prompt." +
                           end,
                       "input_tokens");
  }
  return bad_request(start + "you requested " + std::to_string(wanted) +
                         " output tokens and your prompt contains at least " + at_least +
                         " input tokens, for a total of at least " +
                         std::to_string(tokens + wanted) +
                         " tokens. Please reduce the length of the input prompt or the number of "
                         "requested output tokens." +
                         end,
                     "input_tokens");
}

std::optional<Page> check_lengths(const std::vector<Prompt>& prompts, const json::object& object,
                                  const char* max_key, std::int64_t max_tokens,
                                  const DialectContext& context) {
  const std::int64_t model_len = context.options->engine.model_len;
  const std::string limit = std::to_string(model_len);
  const std::string value = std::to_string(max_tokens);
  if (object.if_contains(max_key) != nullptr && max_tokens != -1) {
    if (max_tokens < 1) {
      return bad_request("max_tokens must be at least 1, got " + value +
                             ". (parameter=max_tokens, value=" + value + ")",
                         "max_tokens");
    }
    if (max_tokens > model_len) {
      return bad_request(
          "max_tokens=" + value + " cannot be greater than max_model_len=" + limit +
              ". Please request fewer output tokens. (parameter=max_tokens, value=" + value + ")",
          "max_tokens");
    }
  }
  const std::int64_t wanted = max_tokens > 0 ? max_tokens : 0;
  for (const Prompt& prompt : prompts) {
    const auto tokens = static_cast<std::int64_t>(prompt.ids.size());
    if (tokens == 0) return bad_request("The decoder prompt cannot be empty");
    if (tokens < model_len && tokens + wanted <= model_len) continue;
    return too_long(tokens, wanted, model_len);
  }
  return std::nullopt;
}

SequenceParams read_sampling(const json::object& object, const DialectContext& context) {
  SequenceParams params;
  params.temperature = json_number(object, "temperature", -1);
  params.min_tokens = static_cast<std::int32_t>(
      std::min<std::int64_t>(json_int(object, "min_tokens", 0), context.options->engine.model_len));
  params.ignore_eos = json_bool(object, "ignore_eos", false);
  params.stop = read_stop(object);
  const json::value* ids = object.if_contains("stop_token_ids");
  if (ids != nullptr) read_ids(*ids, params.stop_token_ids);
  const json::value* seed = object.if_contains("seed");
  if (seed != nullptr && seed->is_number()) {
    params.seed = static_cast<std::uint64_t>(json_int(object, "seed", 0));
  }
  return params;
}

void read_flags(const json::object& object, GenerateCall& call) {
  call.stream = json_bool(object, "stream", false);
  call.return_token_ids = json_bool(object, "return_token_ids", false);
  call.echo = json_bool(object, "echo", false);
  if (const json::object* options = json_object(object, "stream_options")) {
    call.include_usage = json_bool(*options, "include_usage", false);
    call.continuous_usage =
        call.include_usage && json_bool(*options, "continuous_usage_stats", false);
  }
  if (call.kind == GenerateCall::Kind::kCompletions) {
    call.logprobs =
        static_cast<std::int32_t>(std::min<std::int64_t>(json_int(object, "logprobs", -1), 20));
  } else if (json_bool(object, "logprobs", false)) {
    call.logprobs =
        static_cast<std::int32_t>(std::min<std::int64_t>(json_int(object, "top_logprobs", 0), 20));
  }
}

void add_choices(GenerateCall& call, const std::vector<Prompt>& prompts,
                 const SequenceParams& params, std::int64_t n) {
  for (const Prompt& prompt : prompts) {
    call.prompt_tokens += static_cast<std::int64_t>(prompt.ids.size());
    for (std::int64_t i = 0; i < n; ++i) {
      SequenceParams choice = params;
      choice.prompt = prompt.ids;
      if (choice.seed) *choice.seed += static_cast<std::uint64_t>(i);
      call.sequences.push_back(std::move(choice));
      call.prompt_texts.push_back(prompt.text);
    }
  }
}

}  // namespace

std::expected<GenerateCall, Page> VllmDialect::parse(std::string_view path, std::string_view body,
                                                     const DialectContext& context) const {
  const auto object = parse_object(body);
  if (!object) {
    return std::unexpected(vllm_error(
        400,
        "1 validation error:\n  {'type': 'json_invalid', 'loc': 'body', 'msg': 'JSON decode "
        "error'}",
        "Bad Request", "body"));
  }
  GenerateCall call;
  const bool chat = path == "/v1/chat/completions";
  call.kind = chat ? GenerateCall::Kind::kChat : GenerateCall::Kind::kCompletions;
  if (const char* key = not_a_number(*object, {"max_tokens", "max_completion_tokens", "min_tokens",
                                               "n", "temperature", "seed"})) {
    return std::unexpected(bad_type(*object, key));
  }
  call.model = json_text(*object, "model", context.options->model);
  const auto& loras = context.options->loras;
  const bool is_lora = std::ranges::find(loras, call.model) != loras.end();
  if (!is_lora && call.model != context.options->model) {
    return std::unexpected(
        vllm_error(404,
                   "The model `" + call.model +
                       "` does not exist. Valid aliases: " + context.options->model + ".",
                   "NotFoundError", "model"));
  }
  auto prompts = chat ? read_messages(*object, context) : read_prompts(*object, context);
  if (!prompts) return std::unexpected(prompts.error());

  const bool newer_key = chat && object->if_contains("max_completion_tokens") != nullptr &&
                         !object->at("max_completion_tokens").is_null();
  const char* max_key = newer_key ? "max_completion_tokens" : "max_tokens";
  const std::int64_t otherwise = chat ? -1 : kCompletionsMaxTokens;
  const std::int64_t max_tokens = json_int(*object, max_key, otherwise);
  const bool sent = object->if_contains(max_key) != nullptr && !object->at(max_key).is_null();
  // A default never refuses a prompt: it shrinks to the room that is left.
  auto error = check_lengths(*prompts, *object, max_key, sent ? max_tokens : -1, context);
  if (error) return std::unexpected(*error);
  call.max_tokens = static_cast<std::int32_t>(max_tokens);

  SequenceParams params = read_sampling(*object, context);
  if (is_lora) params.adapter = hash_bytes(call.model);
  if (chat) call.reasoning = context.options->reasoning_tokens;
  params.max_tokens = call.max_tokens;
  call.temperature = params.temperature;
  read_flags(*object, call);
  if (const auto forced = chat ? forced_text(*object) : std::nullopt) {
    params.forced = context.model->vocabulary().tokenize(forced->text, false);
    call.tool_name = forced->tool_name;
    call.arguments_begin = forced->arguments_begin;
    call.arguments_end = forced->arguments_end;
    call.structured = true;
  }
  const std::int64_t n = json_int(*object, "n", 1);
  if (n < 1 || n > kChoicesMax) {
    return std::unexpected(
        bad_request("n must be at least 1, got " + std::to_string(n) + ".", "n"));
  }
  add_choices(call, *prompts, params, n);
  return call;
}

}  // namespace hf::simulator
