// llama.cpp: every endpoint that does not generate, and the settings objects.
#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "simulator/json_text.hpp"
#include "simulator/llama_dialect.hpp"
#include "simulator/request_json.hpp"

namespace hf::simulator {
namespace json = boost::json;
namespace {

constexpr std::string_view kSamplingSettings =
    R"("dynatemp_range":0.0,"dynatemp_exponent":1.0,"top_k":40,"top_p":0.949999988079071,)"
    R"("min_p":0.05000000074505806,"top_n_sigma":-1.0,"xtc_probability":0.0,)"
    R"("xtc_threshold":0.10000000149011612,"typical_p":1.0,"repeat_last_n":64,)"
    R"("repeat_penalty":1.0,"presence_penalty":0.0,"frequency_penalty":0.0,)"
    R"("dry_multiplier":0.0,"dry_base":1.75,"dry_allowed_length":2,"dry_penalty_last_n":64,)";
constexpr std::string_view kMirostatSettings =
    R"("mirostat":0,"mirostat_tau":5.0,"mirostat_eta":0.10000000149011612,)"
    R"("adaptive_target":-1.0,"adaptive_decay":0.8999999761581421,)";
constexpr std::string_view kSamplers =
    R"("samplers":["penalties","dry","top_n_sigma","top_k","typ_p","top_p","min_p","xtc",)"
    R"("temperature"],"speculative.types":"none","timings_per_token":)";
constexpr std::string_view kChatTemplate =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";

std::string_view truth(bool value) {
  return value ? "true" : "false";
}

Page json_page(std::string body) {
  Page page;
  page.body = std::move(body);
  return page;
}

Page models_page(const DialectContext& context) {
  const EngineApiOptions& options = *context.options;
  std::string name;
  append_json_string(name, options.model);
  return json_page(
      R"({"models":[{"name":)" + name + R"(,"model":)" + name +
      R"(,"modified_at":"","size":"","digest":"","type":"model","description":"","tags":[""],)"
      R"("capabilities":["completion"],"parameters":"","details":{"parent_model":"",)"
      R"("format":"gguf","family":"","families":[""],"parameter_size":"","quantization_level":""})"
      R"(}],"object":"list","data":[{"id":)" +
      name + R"(,"aliases":[)" + name +
      R"(],"tags":[],"object":"model","architecture":{"input_modalities":["text"],)"
      R"("output_modalities":["text"]},"created":)" +
      std::to_string(context.unix_s) +
      R"(,"owned_by":"llamacpp","meta":{"vocab_type":2,"n_vocab":)" +
      std::to_string(context.model->vocabulary().size()) + R"(,"n_ctx":)" +
      std::to_string(options.engine.model_len) +
      R"(,"n_ctx_train":8192,"n_embd":576,"n_params":134515008,"size":96576768,)"
      R"("ftype":"Q4_1"}}]})");
}

std::int32_t slot_count(const DialectContext& context) {
  return context.options->engine.slots > 0 ? context.options->engine.slots : 4;
}

Page props_page(const DialectContext& context) {
  const EngineApiOptions& options = *context.options;
  std::string body = R"({"default_generation_settings":{"params":)";
  append_llama_settings(body, {});
  body += R"(,"n_ctx":)" + std::to_string(options.engine.model_len) + R"(},"total_slots":)" +
          std::to_string(slot_count(context)) + R"(,"model_alias":)";
  append_json_string(body, options.model);
  body += R"(,"model_ftype":"Q4_1","model_path":)";
  append_json_string(body, "model/variant-" + std::to_string(options.engine.variant) + ".gguf");
  body += R"(,"modalities":{"vision":)" + std::string(truth(options.images)) +
          R"(,"video":false,"audio":false},)"
          R"("media_marker":"<__media__>","endpoint_slots":true,"endpoint_props":false,)"
          R"("endpoint_metrics":true,"ui":true,"ui_settings":{},"chat_template":)";
  append_json_string(body, kChatTemplate);
  body += R"(,"chat_template_caps":{"supports_object_arguments":false,)"
          R"("supports_parallel_tool_calls":false,"supports_preserve_reasoning":false,)"
          R"("supports_reasoning_effort":false,"supports_string_content":true,)"
          R"("supports_system_role":true,"supports_tool_calls":false,"supports_tools":false,)"
          R"("supports_typed_content":false},"bos_token":"<|im_start|>",)"
          R"("eos_token":"<|im_end|>","build_info":"b0-unknown","is_sleeping":false,)"
          R"("cors_proxy_enabled":false})";
  return json_page(std::move(body));
}

Page slots_page(const DialectContext& context) {
  std::string body = "[";
  for (std::int32_t slot = 0; slot < slot_count(context); ++slot) {
    const auto view = context.model->slot(slot);
    if (slot != 0) body += ',';
    body += R"({"id":)" + std::to_string(slot) + R"(,"n_ctx":)" +
            std::to_string(context.options->engine.model_len) + R"(,"speculative":false,)" +
            R"("is_processing":)" + std::string(truth(view.has_value())) +
            R"(,"id_task":-1,"n_prompt_tokens":)" + std::to_string(view ? view->prompt_tokens : 0) +
            R"(,"n_prompt_tokens_processed":)" + std::to_string(view ? view->prompt_tokens : 0) +
            R"(,"n_prompt_tokens_cache":)" + std::to_string(view ? view->cached_tokens : 0) +
            R"(,"params":)";
    append_llama_settings(body, {});
    body += R"(,"next_token":[{"has_next_token":)" + std::string(truth(view.has_value())) +
            R"(,"has_new_line":false,"n_remain":-1,"n_decoded":)" +
            std::to_string(view ? view->completion_tokens : 0) + "}]}";
  }
  return json_page(body + "]");
}

Page metrics_page(const DialectContext& context) {
  const EngineCounters c = context.model->counters();
  Page page;
  page.content_type = "text/plain; version=0.0.4";
  const auto add = [&](std::string_view name, std::string_view type, std::string_view help,
                       double value) {
    std::string number;
    append_double(number, value);
    if (number.ends_with(".0")) number.resize(number.size() - 2);
    const std::string full = "llamacpp:" + std::string(name);
    page.body += "# HELP " + full + " " + std::string(help) + "\n# TYPE " + full + " " +
                 std::string(type) + "\n" + full + " " + number + "\n";
  };
  const auto generated = static_cast<double>(c.generated_tokens);
  const auto steps = static_cast<double>(c.steps);
  add("prompt_tokens_total", "counter",
      "Number of prompt tokens processed, excluding cached tokens",
      static_cast<double>(c.prompt_tokens - c.prompt_tokens_cached));
  add("prompt_tokens_cached_total", "counter", "Number of prompt tokens reused from the cache",
      static_cast<double>(c.prompt_tokens_cached));
  add("prompt_seconds_total", "counter", "Total time spent processing prompts",
      c.first_token_seconds);
  add("tokens_predicted_total", "counter", "Number of generation tokens processed", generated);
  add("tokens_predicted_seconds_total", "counter", "Total time spent generating tokens",
      c.inter_token_seconds);
  add("n_decode_total", "counter",
      "Total number of llama_decode() calls, excluding speculative decoding and multimodal "
      "decoding",
      steps);
  add("prompt_tokens_seconds", "gauge", "Average prompt throughput in tokens/s",
      c.first_token_seconds > 0 ? static_cast<double>(c.prompt_tokens) / c.first_token_seconds : 0);
  add("predicted_tokens_seconds", "gauge", "Average generation throughput in tokens/s",
      c.inter_token_seconds > 0 ? generated / c.inter_token_seconds : 0);
  add("requests_processing", "gauge", "Number of requests processing", c.running);
  add("requests_deferred", "gauge", "Number of requests deferred", c.waiting);
  add("n_busy_slots_per_decode", "gauge", "Average number of busy slots per llama_decode() call",
      steps > 0 ? generated / steps : 0);
  return page;
}

Page tokenize_page(const json::object& object, const DialectContext& context) {
  const Vocabulary& vocabulary = context.model->vocabulary();
  const bool add_bos = json_bool(object, "add_special", false) && context.options->engine.add_bos;
  const bool parse_special = json_bool(object, "parse_special", true);
  std::vector<TokenId> ids;
  const auto take = [&](const json::value& item) {
    if (item.is_string()) {
      const auto part = vocabulary.tokenize(std::string_view(item.as_string()), parse_special,
                                            add_bos && ids.empty());
      ids.insert(ids.end(), part.begin(), part.end());
      return true;
    }
    if (!item.is_int64() || item.as_int64() < 0 || item.as_int64() >= vocabulary.size()) {
      return false;
    }
    ids.push_back(static_cast<TokenId>(item.as_int64()));
    return true;
  };
  bool good = true;
  if (const json::value* content = object.if_contains("content")) {
    if (const json::array* list = content->if_array()) {
      for (const json::value& item : *list) good = good && take(item);
    } else {
      good = take(*content);
    }
  }
  if (!good) return llama_error(400, "\"content\" has invalid tokens", "invalid_request_error");
  Page page = json_page(R"({"tokens":)");
  append_ids(page.body, ids);
  page.body += '}';
  return page;
}

Page detokenize_page(const json::object& object, const DialectContext& context) {
  const Vocabulary& vocabulary = context.model->vocabulary();
  std::vector<TokenId> ids;
  const json::value* tokens = object.if_contains("tokens");
  bool good = tokens == nullptr || read_ids(*tokens, ids);
  good =
      good && std::all_of(ids.begin(), ids.end(), [&](TokenId id) { return vocabulary.valid(id); });
  if (!good) return llama_error(400, "\"tokens\" has invalid tokens", "invalid_request_error");
  Page page = json_page(R"({"content":)");
  append_json_string(page.body, vocabulary.detokenize(ids, true));
  page.body += '}';
  return page;
}

Page template_page(const json::object& object) {
  const json::value* messages = object.if_contains("messages");
  if (messages == nullptr || !messages->is_array() || messages->as_array().empty()) {
    return llama_error(400, "'messages' is required", "invalid_request_error");
  }
  const json::object* last = messages->as_array().back().if_object();
  const bool prefilled = last != nullptr && json_text(*last, "role", "") == "assistant";
  const auto text = render_chat(messages->as_array(), !prefilled, prefilled, false);
  if (!text) return llama_error(400, "image input is not supported", "invalid_request_error");
  Page page = json_page(R"({"prompt":)");
  append_json_string(page.body, *text);
  page.body += '}';
  return page;
}

}  // namespace

void append_llama_settings(std::string& out, const LlamaSettings& s) {
  constexpr std::int64_t kNoSeed = 4'294'967'295;
  out += R"({"seed":)" + std::to_string(s.seed < 0 ? kNoSeed : s.seed) + R"(,"temperature":)";
  // The server keeps it as a float.
  append_double(out, s.temperature < 0 ? 0.800000011920929
                                       : static_cast<double>(static_cast<float>(s.temperature)));
  out += ',';
  out += kSamplingSettings;
  if (s.stop != nullptr) out += R"("dry_sequence_breakers":["\n",":","\"","*"],)";
  out += kMirostatSettings;
  if (s.stop != nullptr) {
    out += R"("stop":[)";
    for (std::size_t i = 0; i < s.stop->size(); ++i) {
      if (i != 0) out += ',';
      append_json_string(out, (*s.stop)[i]);
    }
    out += "],";
  }
  const std::string n_predict = std::to_string(s.n_predict);
  out += R"("max_tokens":)" + n_predict + R"(,"n_predict":)" + n_predict;
  out += R"(,"n_keep":0,"n_discard":0,"ignore_eos":)";
  out += truth(s.ignore_eos);
  out += R"(,"stream":)";
  out += truth(s.stream);
  if (s.stop != nullptr) {
    // The ids that end an answer; the bias is minus infinity, which JSON has not.
    out += s.ignore_eos ? R"(,"logit_bias":[{"bias":null,"token":0},{"bias":null,"token":2}])"
                        : R"(,"logit_bias":[])";
  }
  out += R"(,"n_probs":)" + std::to_string(s.n_probs) + R"(,"min_keep":0)";
  if (s.stop != nullptr) {
    out += R"(,"grammar":"","grammar_lazy":false,"grammar_triggers":[],"preserved_tokens":[])";
  }
  out += s.chat ? R"(,"chat_format":"peg-native")" : R"(,"chat_format":"Content-only")";
  out += s.stop != nullptr ? R"(,"reasoning_format":"deepseek")" : R"(,"reasoning_format":"none")";
  out += R"(,"reasoning_in_content":false,"generation_prompt":)";
  append_json_string(out, s.chat ? "<|im_start|>assistant\n" : "");
  out += ',';
  out += kSamplers;
  out += truth(s.timings_per_token);
  out += R"(,"post_sampling_probs":false,"backend_sampling":false,"lora":[]})";
}

void append_llama_timings(std::string& out, const SequenceView& view, std::int32_t predicted) {
  const auto rounded = [](Duration d) {
    return std::max(std::round(millis(d) * 1e3) / 1e3, 0.001);
  };
  const std::int32_t prompt_n = view.prompt_tokens - view.cached_tokens;
  const double prompt_ms = rounded(view.first_token_at - view.prefill_started_at);
  const double predicted_ms = rounded(view.last_token_at - view.first_token_at);
  const std::int32_t gaps = predicted - 1;  // the first token belongs to the prompt
  out += R"({"cache_n":)";
  append_int(out, view.cached_tokens);
  out += R"(,"prompt_n":)";
  append_int(out, prompt_n);
  out += R"(,"prompt_ms":)";
  append_double(out, prompt_ms);
  out += R"(,"prompt_per_token_ms":)";
  append_double(out, prompt_n > 0 ? prompt_ms / prompt_n : 0);
  out += R"(,"prompt_per_second":)";
  append_double(out, prompt_n * 1e3 / prompt_ms);
  out += R"(,"predicted_n":)";
  append_int(out, predicted);
  out += R"(,"predicted_ms":)";
  append_double(out, predicted_ms);
  out += R"(,"predicted_per_token_ms":)";
  append_double(out, gaps > 0 ? predicted_ms / gaps : 0);
  out += R"(,"predicted_per_second":)";
  append_double(out, gaps > 0 ? gaps * 1e3 / predicted_ms : 0);
  out += '}';
}

bool LlamaDialect::generates(std::string_view method, std::string_view path) const {
  return method == "POST" &&
         (path == "/completion" || path == "/completions" || path == "/v1/completions" ||
          path == "/v1/chat/completions" || path == "/chat/completions");
}

Page LlamaDialect::page(std::string_view method, std::string_view path, std::string_view body,
                        const DialectContext& context) const {
  if (method == "GET") {
    if (path == "/health" || path == "/v1/health") return json_page(R"({"status":"ok"})");
    if (path == "/v1/models" || path == "/models") return models_page(context);
    if (path == "/props") return props_page(context);
    if (path == "/slots") return slots_page(context);
    if (path == "/metrics") return metrics_page(context);
  }
  const bool known = method == "POST" &&
                     (path == "/tokenize" || path == "/detokenize" || path == "/apply-template");
  if (!known) return llama_error(404, "File Not Found", "not_found_error");
  const auto object = parse_object(body);
  if (!object) {
    return llama_error(400, "[json.exception.parse_error.101] parse error: syntax error",
                       "invalid_request_error");
  }
  if (path == "/tokenize") return tokenize_page(*object, context);
  if (path == "/detokenize") return detokenize_page(*object, context);
  return template_page(*object);
}

}  // namespace hf::simulator
