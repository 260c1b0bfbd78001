// Who is there: the questions that a new engine is asked before it gets work.
//
// Order: 1. GET /v1/models (owned_by tells the kind: "vllm", "llamacpp"; else a plain OpenAI-like
// engine, which is asked nothing more). 2. vLLM: GET /version; llama.cpp: GET /props, then
// POST /tokenize of its EOS text. 3. POST /tokenize of the probe text. 4. a greedy generation of 16
// tokens from its first ids (vLLM /v1/completions, llama.cpp /completion). 5. four tokens from each
// endpoint that clients call, not streamed: how its whole bodies look.
// SGLang (owned_by "sglang") is served as an OpenAI-like engine and asked for its version only.
// Only a failure of step 1 fails the probe; a later step that is refused leaves its part unknown
// (an identity of 0 never equals another).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/dialect.hpp"
#include "engine/questions.hpp"

namespace hf::engine {

/// 1 KiB of special, rare and non-Latin characters: tokenizers that agree on it are taken for
/// equal.
std::string_view probe_text();

struct ModelInfo {
  std::string name;
  std::string root;          // vLLM: root; llama.cpp: model_path
  std::int64_t max_len = 0;  // tokens a request may have in all; 0 unknown
  bool is_lora = false;
  std::uint64_t adapter = 0;  // of an adapter: a hash of where its weights come from
};

struct EngineInfo {
  Kind kind = Kind::kOpenAi;
  std::string version;
  std::string name;                    // for people: "vLLM", "SGLang", "an OpenAI-like engine"
  std::string fingerprint;             // system_fingerprint as raw JSON; empty unknown
  std::vector<ModelInfo> models;       // aliases are models of their own
  std::uint64_t tokens_identity = 0;   // equal: the same ids for the same text; 0 unknown
  std::uint64_t exact_identity = 0;    // equal: the same next token; 0 unknown
  std::vector<core::TokenId> eos_ids;  // llama.cpp; vLLM does not tell
  std::int64_t slots = 0;              // requests at a time; 0 unknown
  std::string whole_chat, whole_completions;  // whole answers, raw; empty: none was given
};

class Probe {
 public:
  Step<EngineInfo> start();
  Step<EngineInfo> next(int status, std::string_view body);

  /// Reads a /v1/models answer alone: what a periodic re-read of the list needs.
  static Result<EngineInfo> read_models(std::string_view body);

 private:
  enum class Stage : std::uint8_t {
    kModels,
    kVersion,
    kProps,
    kEos,
    kTokenize,
    kGenerate,
    kWholeChat,
    kWholeText,
    kServerInfo
  };
  Step<EngineInfo> after_models(int status, std::string_view body);
  Step<EngineInfo> ask_tokenize();
  Step<EngineInfo> ask_generate();
  Step<EngineInfo> ask_whole(Stage stage);
  void read_props(std::string_view body);
  void read_generated(std::string_view body);

  Stage stage_ = Stage::kModels;
  EngineInfo info_;
  std::string eos_text_;
  std::vector<core::TokenId> probe_ids_;
};

}  // namespace hf::engine
