// vLLM: every endpoint that does not generate.
#include <array>
#include <boost/json.hpp>

#include "simulator/json_text.hpp"
#include "simulator/request_json.hpp"
#include "simulator/vllm_dialect.hpp"

namespace hf::simulator {
namespace json = boost::json;
namespace {

Page json_page(std::string body) {
  Page page;
  page.body = std::move(body);
  return page;
}

Page not_found() {
  Page page;
  page.status = 404;
  page.body = R"({"detail":"Not Found"})";
  return page;
}

// `about`: root, parent and max_model_len.
void append_model(std::string& out, std::string_view name, std::string_view about,
                  const std::string& created) {
  out += R"({"id":)";
  append_json_string(out, name);
  out += R"(,"object":"model","created":)" + created + R"(,"owned_by":"vllm",)";
  out += about;
  out += R"(,"permission":[{"id":"modelperm-be364f38ad1f90e7","object":"model_permission",)"
         R"("created":)" +
         created +
         R"(,"allow_create_engine":false,"allow_sampling":true,"allow_logprobs":true,)"
         R"("allow_search_indices":false,"allow_view":true,"allow_fine_tuning":false,)"
         R"("organization":"*","group":null,"is_blocking":false}]})";
}

Page models_page(const DialectContext& context) {
  const EngineApiOptions& options = *context.options;
  const std::string created = std::to_string(context.unix_s);
  Page page;
  page.body = R"({"object":"list","data":[)";
  append_model(page.body, options.model,
               R"("root":"simulated/variant-)" + std::to_string(options.engine.variant) +
                   R"(","parent":null,"max_model_len":)" + std::to_string(options.engine.model_len),
               created);
  // An adapter says nothing of its length: it is that of its parent.
  for (const std::string& name : options.loras) {
    std::string about = R"("root":)";
    append_json_string(about, "simulated/" + name);
    about += R"(,"parent":)";
    append_json_string(about, options.model);
    about += R"(,"max_model_len":null)";
    page.body += ',';
    append_model(page.body, name, about, created);
  }
  page.body += "]}";
  return page;
}

Page tokenize_page(const json::object& object, const DialectContext& context) {
  std::string text;
  bool special = json_bool(object, "add_special_tokens", true);
  if (const json::value* messages = object.if_contains("messages")) {
    special = json_bool(object, "add_special_tokens", false);
    if (!messages->is_array() || messages->as_array().empty()) {
      return vllm_error(400,
                        "Cannot apply chat template to an empty conversation. Provide at least "
                        "one message.",
                        "BadRequestError");
    }
    auto rendered =
        render_chat(messages->as_array(), json_bool(object, "add_generation_prompt", true),
                    json_bool(object, "continue_final_message", false), context.options->images);
    if (!rendered) {
      return vllm_error(400, context.options->model + " is not a multimodal model",
                        "BadRequestError");
    }
    text = std::move(*rendered);
  } else {
    text = json_text(object, "prompt", "");
  }
  const auto ids =
      context.model->vocabulary().tokenize(text, true, special && context.options->engine.add_bos);
  Page page;
  page.body = R"({"count":)" + std::to_string(ids.size()) + R"(,"max_model_len":)" +
              std::to_string(context.options->engine.model_len) + R"(,"tokens":)";
  append_ids(page.body, ids);
  page.body += R"(,"token_strs":null})";
  return page;
}

Page detokenize_page(const json::object& object, const DialectContext& context) {
  const Vocabulary& vocabulary = context.model->vocabulary();
  std::vector<TokenId> ids;
  const json::value* tokens = object.if_contains("tokens");
  if (tokens == nullptr || !read_ids(*tokens, ids)) {
    return vllm_error(400,
                      "1 validation error:\n  {'type': 'missing', 'loc': 'body.tokens', 'msg': "
                      "'Field required'}",
                      "Bad Request", "body.tokens");
  }
  for (const TokenId id : ids) {
    if (!vocabulary.valid(id)) {
      return vllm_error(400, "Token id " + std::to_string(id) + " is out of vocabulary",
                        "BadRequestError");
    }
  }
  Page page;
  page.body = R"({"prompt":)";
  append_json_string(page.body, vocabulary.detokenize(ids, true));
  page.body += '}';
  return page;
}

}  // namespace

bool VllmDialect::generates(std::string_view method, std::string_view path) const {
  return method == "POST" && (path == "/v1/completions" || path == "/v1/chat/completions");
}

Page VllmDialect::page(std::string_view method, std::string_view path, std::string_view body,
                       const DialectContext& context) const {
  if (method == "GET") {
    if (path == "/health") return {};
    if (path == "/v1/models") return models_page(context);
    if (path == "/metrics") return vllm_metrics(context);
    if (path == "/version") return json_page(R"({"version":"0.32.0"})");
    if (path == "/load") {
      return json_page(R"({"server_load":)" + std::to_string(context.open_streams) + "}");
    }
    return not_found();
  }
  if (method != "POST" || (path != "/tokenize" && path != "/detokenize")) return not_found();
  const auto object = parse_object(body);
  if (!object) {
    return vllm_error(400,
                      "1 validation error:\n  {'type': 'json_invalid', 'loc': 'body', 'msg': "
                      "'JSON decode error'}",
                      "Bad Request", "body");
  }
  return path == "/tokenize" ? tokenize_page(*object, context) : detokenize_page(*object, context);
}

namespace {

class MetricsWriter {
 public:
  MetricsWriter(std::string& out, std::string_view model) : out_(out), model_(model) {}

  void describe(std::string_view name, std::string_view type, std::string_view help) {
    ((out_ += "# HELP ") += name) += ' ';
    ((out_ += help) += "\n# TYPE ") += name;
    ((out_ += ' ') += type) += '\n';
  }
  // `label`: between the engine's label and the model's, with its comma; or after, as `last`.
  void sample(std::string_view name, double value, std::string_view label = {},
              std::string_view last = {}) {
    ((out_ += name) += R"({engine="0",)") += label;
    ((out_ += R"(model_name=")") += model_) += '"';
    (out_ += last) += "} ";
    append_double(out_, value);
    out_ += '\n';
  }
  void one(std::string_view name, std::string_view type, std::string_view help, double value) {
    describe(name, type, help);
    sample(name, value);
  }

 private:
  std::string& out_;
  std::string_view model_;
};

}  // namespace

Page vllm_metrics(const DialectContext& context) {
  const EngineCounters c = context.model->counters();
  Page page;
  page.content_type = "text/plain; version=1.0.0; charset=utf-8";
  MetricsWriter out(page.body, context.options->model);
  const auto number = [](auto value) { return static_cast<double>(value); };
  out.one("vllm:num_requests_running", "gauge", "Number of requests in model execution batches.",
          number(c.running));
  out.one("vllm:num_requests_waiting", "gauge", "Number of requests waiting to be processed.",
          number(c.waiting));
  out.describe("vllm:num_requests_waiting_by_reason", "gauge",
               "Number of waiting requests by reason.");
  out.sample("vllm:num_requests_waiting_by_reason", number(c.waiting), {}, R"(,reason="capacity")");
  out.sample("vllm:num_requests_waiting_by_reason", 0, {}, R"(,reason="deferred")");
  out.one("vllm:kv_cache_usage_perc", "gauge", "KV-cache usage. 1 means 100 percent usage.",
          c.kv_usage);
  out.one("vllm:prefix_cache_queries_total", "counter",
          "Prefix cache queries, in terms of number of queried tokens.", number(c.prompt_tokens));
  out.one("vllm:prefix_cache_hits_total", "counter",
          "Prefix cache hits, in terms of number of cached tokens.",
          number(c.prompt_tokens_cached));
  out.one("vllm:num_preemptions_total", "counter",
          "Cumulative number of preemption from the engine.", 0);
  out.one("vllm:prompt_tokens_total", "counter", "Number of prefill tokens processed.",
          number(c.prompt_tokens));
  out.one("vllm:generation_tokens_total", "counter", "Number of generation tokens processed.",
          number(c.generated_tokens));
  out.describe("vllm:request_success_total", "counter",
               "Count of successfully processed requests.");
  const auto finished = [&](std::string_view label, double value) {
    out.sample("vllm:request_success_total", value, label);
  };
  finished(R"(finished_reason="stop",)", number(c.finished_stop));
  finished(R"(finished_reason="length",)", number(c.finished_length));
  // Recorded: requests whose client went away are not counted here.
  finished(R"(finished_reason="abort",)", 0);
  finished(R"(finished_reason="error",)", 0);
  finished(R"(finished_reason="repetition",)", 0);
  const auto summary = [&](const std::string& name, std::string_view help, double count,
                           double sum) {
    out.describe(name, "histogram", help);
    out.sample(name + "_bucket", count, R"(le="+Inf",)");
    out.sample(name + "_count", count);
    out.sample(name + "_sum", sum);
  };
  summary("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.",
          number(c.first_tokens), c.first_token_seconds);
  summary("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.",
          number(c.generated_tokens - c.first_tokens), c.inter_token_seconds);
  return page;
}

}  // namespace hf::simulator
