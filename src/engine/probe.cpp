#include "engine/probe.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "base/hash.hpp"
#include "base/random.hpp"
#include "engine/answers.hpp"
#include "wire/json.hpp"

namespace hf::engine {
namespace {

/// Tokens of the probe text that the greedy probe starts from: enough to be far from any tie, few
/// enough to cost a busy engine nothing.
constexpr std::size_t kProbePromptTokens = 24;
constexpr std::int64_t kProbeTokens = 16;
constexpr std::int64_t kWholeTokens = 4;  // enough for a model that thinks to show it
constexpr std::size_t kModelsMax = 1024;

class Hash {
 public:
  void add(std::uint64_t value) { state_ = mix64(state_ ^ value); }
  void add(std::string_view text) {
    add(text.size());
    for (const char c : text) add(static_cast<unsigned char>(c));
  }
  void add(std::span<const core::TokenId> ids) {
    add(ids.size());
    for (const core::TokenId id : ids) add(static_cast<std::uint64_t>(id));
  }
  /// Never 0, which stands for unknown.
  std::uint64_t value() const { return state_ == 0 ? 1 : state_; }

 private:
  std::uint64_t state_ = 0x686f6c6466617374ULL;
};

WireRequest get(std::string_view path) {
  WireRequest call;
  call.method = "GET";
  call.path = path;
  return call;
}

WireRequest post(std::string_view path, std::string body) {
  WireRequest call;
  call.path = path;
  call.body = std::move(body);
  return call;
}

std::string quoted(std::string_view text) {
  std::string out;
  wire::json_append_string(out, text);
  return out;
}

bool has_model(const EngineInfo& info, std::string_view name) {
  return std::any_of(info.models.begin(), info.models.end(),
                     [&](const ModelInfo& model) { return model.name == name; });
}

/// One entry of "data": the model, and its aliases as models of their own.
void read_model(EngineInfo& info, std::string_view entry) {
  ModelInfo model;
  const auto name = find_string(entry, {"id"});
  if (!name || name->empty() || info.models.size() >= kModelsMax) return;
  model.name = *name;
  model.root = find_string(entry, {"root"}).value_or(std::string());
  model.max_len = find_int(entry, {"max_model_len"}).value_or(0);
  if (model.max_len == 0) model.max_len = find_int(entry, {"meta", "n_ctx"}).value_or(0);
  model.is_lora = find_string(entry, {"parent"}).has_value();
  if (model.is_lora) model.adapter = std::max<std::uint64_t>(hash_bytes(model.root), 1);
  if (!has_model(info, model.name)) info.models.push_back(model);
  const auto aliases = find_json(entry, {"aliases"});
  if (!aliases) return;
  wire::JsonReader json(*aliases);
  if (json.peek() != wire::JsonKind::kArray) return;
  json.enter_array();
  while (json.next_element() && info.models.size() < kModelsMax) {
    model.name.clear();
    if (!json.read_string(model.name)) return;
    if (!model.name.empty() && !has_model(info, model.name)) info.models.push_back(model);
  }
}

/// The model that the probe asks: the first that is no adapter.
const ModelInfo* base_model(const EngineInfo& info) {
  const auto model = std::find_if(info.models.begin(), info.models.end(),
                                  [](const ModelInfo& m) { return !m.is_lora; });
  return model == info.models.end() ? nullptr : &*model;
}

}  // namespace

Result<EngineInfo> Probe::read_models(std::string_view body) {
  const auto data = find_json(body, {"data"});
  wire::JsonReader json(data.value_or(std::string_view()));
  if (json.peek() != wire::JsonKind::kArray) return std::unexpected(nonsense("/v1/models"));
  EngineInfo info;
  json.enter_array();
  while (json.next_element()) {
    const wire::JsonSpan span = json.skip();
    if (json.failed()) break;
    const std::string_view entry = span.of(*data);
    const auto owner = find_string(entry, {"owned_by"});
    if (owner == "vllm") info.kind = Kind::kVllm;
    if (owner == "llamacpp") info.kind = Kind::kLlamaCpp;
    if (owner == "sglang") info.name = "SGLang";
    read_model(info, entry);
  }
  // vLLM tells no length for an adapter: it is that of its parent.
  if (const ModelInfo* base = base_model(info)) {
    for (ModelInfo& model : info.models) {
      if (model.is_lora && model.max_len == 0) model.max_len = base->max_len;
    }
  }
  if (info.kind == Kind::kVllm) info.name = "vLLM";
  if (info.kind == Kind::kLlamaCpp) info.name = "llama.cpp";
  if (info.name.empty()) info.name = "an OpenAI-like engine";
  return info;
}

Step<EngineInfo> Probe::start() {
  stage_ = Stage::kModels;
  return get("/v1/models");
}

Step<EngineInfo> Probe::after_models(int status, std::string_view body) {
  if (auto error = status_error("/v1/models", status)) return *error;
  auto info = read_models(body);
  if (!info) return info.error();
  info_ = std::move(*info);
  if (info_.name == "SGLang") {
    stage_ = Stage::kServerInfo;
    return get("/server_info");
  }
  if (info_.kind == Kind::kOpenAi || base_model(info_) == nullptr) return std::move(info_);
  const bool vllm = info_.kind == Kind::kVllm;
  stage_ = vllm ? Stage::kVersion : Stage::kProps;
  return get(vllm ? "/version" : "/props");
}

Step<EngineInfo> Probe::ask_tokenize() {
  stage_ = Stage::kTokenize;
  const std::string text = quoted(probe_text());
  if (info_.kind == Kind::kVllm) {
    return post("/tokenize", "{\"model\":" + quoted(base_model(info_)->name) +
                                 ",\"prompt\":" + text + ",\"add_special_tokens\":true}");
  }
  return post("/tokenize",
              "{\"content\":" + text + ",\"add_special\":true,\"parse_special\":true}");
}

Step<EngineInfo> Probe::ask_generate() {
  stage_ = Stage::kGenerate;
  std::string prompt;
  wire::json_append_ints(prompt, probe_ids_.data(),
                         std::min(probe_ids_.size(), kProbePromptTokens));
  std::string limit;
  wire::json_append_int(limit, kProbeTokens);
  if (info_.kind == Kind::kVllm) {
    return post("/v1/completions", "{\"model\":" + quoted(base_model(info_)->name) +
                                       ",\"prompt\":" + prompt + ",\"max_tokens\":" + limit +
                                       ",\"temperature\":0,\"ignore_eos\":true," +
                                       "\"add_special_tokens\":false,\"return_token_ids\":true}");
  }
  // Without cache: a cached prefix changes the batch shapes, and with them the last bits.
  return post("/completion", "{\"prompt\":" + prompt + ",\"n_predict\":" + limit +
                                 ",\"temperature\":0,\"ignore_eos\":true,\"return_tokens\":true," +
                                 "\"cache_prompt\":false}");
}

Step<EngineInfo> Probe::ask_whole(Stage stage) {
  stage_ = stage;
  const bool chat = stage == Stage::kWholeChat;
  std::string body = "{\"model\":" + quoted(base_model(info_)->name);
  body += chat ? R"(,"messages":[{"role":"user","content":"Say hello."}])"
               : R"(,"prompt":"Once upon a time")";
  body += ",\"max_tokens\":";
  wire::json_append_int(body, kWholeTokens);
  body += ",\"temperature\":0}";
  return post(chat ? "/v1/chat/completions" : "/v1/completions", std::move(body));
}

void Probe::read_props(std::string_view body) {
  info_.version = find_string(body, {"build_info"}).value_or(std::string());
  info_.slots = find_int(body, {"total_slots"}).value_or(0);
  eos_text_ = find_string(body, {"eos_token"}).value_or(std::string());
  if (!info_.version.empty()) info_.fingerprint = quoted(info_.version);
  const auto path = find_string(body, {"model_path"}).value_or(std::string());
  const auto slot_len = find_int(body, {"default_generation_settings", "n_ctx"}).value_or(0);
  for (ModelInfo& model : info_.models) {
    model.root = path;
    if (slot_len > 0) model.max_len = slot_len;
  }
}

void Probe::read_generated(std::string_view body) {
  const bool vllm = info_.kind == Kind::kVllm;
  const auto ids =
      vllm ? find_ids(body, {"choices", "0", "token_ids"}) : find_ids(body, {"tokens"});
  if (vllm) {
    const auto fingerprint = find_json(body, {"system_fingerprint"});
    if (fingerprint && *fingerprint != "null") info_.fingerprint = *fingerprint;
  }
  if (!ids || ids->size() != static_cast<std::size_t>(kProbeTokens)) return;
  const ModelInfo& model = *base_model(info_);
  Hash hash;
  hash.add(static_cast<std::uint64_t>(info_.kind));
  hash.add(info_.version);
  hash.add(model.root);
  hash.add(static_cast<std::uint64_t>(model.max_len));
  hash.add(info_.tokens_identity);
  hash.add(std::span<const core::TokenId>(*ids));
  info_.exact_identity = hash.value();
}

Step<EngineInfo> Probe::next(int status, std::string_view body) {
  const bool good = status == 200;
  switch (stage_) {
    case Stage::kModels: return after_models(status, body);
    case Stage::kVersion:
      if (good) info_.version = find_string(body, {"version"}).value_or(std::string());
      return ask_tokenize();
    case Stage::kProps: {
      if (good) read_props(body);
      if (eos_text_.empty()) return ask_tokenize();
      stage_ = Stage::kEos;
      return post("/tokenize", "{\"content\":" + quoted(eos_text_) +
                                   ",\"add_special\":false,\"parse_special\":true}");
    }
    case Stage::kEos: {
      const auto ids = good ? find_ids(body, {"tokens"}) : std::nullopt;
      if (ids && ids->size() == 1) info_.eos_ids = *ids;
      return ask_tokenize();
    }
    case Stage::kTokenize: {
      auto ids = good ? find_ids(body, {"tokens"}) : std::nullopt;
      if (!ids || ids->empty()) return ask_whole(Stage::kWholeChat);
      Hash hash;
      hash.add(std::span<const core::TokenId>(*ids));
      info_.tokens_identity = hash.value();
      probe_ids_ = std::move(*ids);
      return ask_generate();
    }
    case Stage::kGenerate:
      if (good) read_generated(body);
      return ask_whole(Stage::kWholeChat);
    case Stage::kWholeChat:
      if (good) info_.whole_chat = body;
      return ask_whole(Stage::kWholeText);
    case Stage::kServerInfo:
      if (good) info_.version = find_string(body, {"version"}).value_or(std::string());
      return std::move(info_);
    case Stage::kWholeText: break;
  }
  if (good) info_.whole_completions = body;
  return std::move(info_);
}

}  // namespace hf::engine
