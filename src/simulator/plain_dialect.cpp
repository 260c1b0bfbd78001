// An engine that only speaks OpenAI's API: no token ids, no counts while it streams, no tokenizer.
// Its events are vLLM's without what vLLM adds. As "sglang" it says so, and continues a last
// message of the assistant as SGLang does.
#include "simulator/json_text.hpp"
#include "simulator/vllm_dialect.hpp"

namespace hf::simulator {
namespace {

class PlainDialect final : public VllmDialect {
 public:
  explicit PlainDialect(std::string as) : as_(std::move(as)) {}

  std::expected<GenerateCall, Page> parse(std::string_view path, std::string_view body,
                                          const DialectContext& context) const override {
    auto call = VllmDialect::parse(path, body, context);
    if (call) call->return_token_ids = call->continuous_usage = false;
    return call;
  }

  Page page(std::string_view method, std::string_view path, std::string_view body,
            const DialectContext& context) const override {
    const bool sglang = as_ == "sglang";
    if (method == "GET" && path == "/v1/models") return models(context);
    if (sglang && method == "GET" && path == "/server_info") {
      Page info;
      info.body = R"({"model_path":"simulated","version":"0.5.23"})";
      return info;
    }
    if (sglang && method == "GET" && (path == "/health" || path == "/metrics")) {
      return VllmDialect::page(method, path, body, context);
    }
    Page missing;
    missing.status = 404;
    missing.body = R"({"detail":"Not Found"})";
    return missing;
  }

 private:
  Page models(const DialectContext& context) const {
    Page page;
    page.body = R"({"object":"list","data":[{"id":)";
    append_json_string(page.body, context.options->model);
    page.body += R"(,"object":"model","created":)" + std::to_string(context.unix_s) +
                 R"(,"owned_by":")" + (as_ == "sglang" ? "sglang" : "somebody") + "\"}]}";
    return page;
  }

  std::string as_;
};

}  // namespace

std::unique_ptr<EngineDialect> make_plain_dialect(std::string as) {
  return std::make_unique<PlainDialect>(std::move(as));
}

}  // namespace hf::simulator
