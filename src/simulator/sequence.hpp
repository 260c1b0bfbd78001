// One sequence that a simulated engine generates: its tokens, the text that becomes visible with
// each of them in either dialect, and where it ends. No time, no queue: that is EngineModel.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "simulator/token_model.hpp"

namespace hf::simulator {

enum class Dialect : std::uint8_t { kVllm, kLlama };

struct EngineOptions {
  Dialect dialect = Dialect::kVllm;
  std::uint64_t variant = 0;      // 0: the identity that engines share; another: another model
  std::uint64_t seed = 1;         // draws seeds of sampled requests that brought none, and ids
  std::uint32_t eos_every = 400;  // mean tokens between EOS; 0 = never
  // 0: every character is split as the tokenizer splits it, so that ids which a stream lost inside
  // characters can be found again; n: about every n-th token begins one that is not.
  std::uint32_t odd_characters_every = 0;
  std::int32_t slots = 0;         // sequences at once; 0 = 256 (vLLM), 4 (llama.cpp)
  std::int32_t model_len = 4096;  // prompt + answer, tokens
  std::int32_t kv_tokens_max = 1 << 20;
  Duration itl = std::chrono::milliseconds(10);  // one decode step of all running sequences
  Duration ttft = std::chrono::milliseconds(5);  // fixed part of the time to the first token
  double prefill_tokens_per_s = 50'000;          // one prompt after the other
  bool prefix_cache = false;                     // blocks of 16 tokens seen before cost no prefill
  bool greedy_always = false;                    // temperature is ignored
  bool eos_before_final = false;  // EOS comes in an event of its own, the finish in the next step
  bool add_bos = false;           // the tokenizer's add_special puts <|bos|> in front
};

using SequenceId = std::uint64_t;  // never 0, never reused

/// One sequence to be generated.
struct SequenceParams {
  std::vector<TokenId> prompt;   // valid ids, at least one
  std::int32_t max_tokens = -1;  // < 0: up to the model length; 0: llama.cpp makes one
  std::int32_t min_tokens = 0;   // no EOS, stop id or stop string before
  double temperature = -1;       // < 0: the engine's default (vLLM 1.0, llama.cpp 0.8); 0: greedy
  std::optional<std::uint64_t> seed;
  bool ignore_eos = false;
  std::vector<std::string> stop;  // non-empty strings
  std::vector<TokenId> stop_token_ids;
  std::uint64_t adapter = 0;    // another number: other weights, so other tokens
  std::vector<TokenId> forced;  // structured output: exactly these ids, then the end
};

enum class Finish : std::uint8_t { kNone, kStop, kLength, kAbort };
enum class StopKind : std::uint8_t { kNone, kEos, kWord, kTokenId, kLimit };

/// One token of one sequence, or (id -1) a finish that comes without one.
struct TokenEvent {
  SequenceId sequence = 0;
  TokenId id = -1;
  std::int32_t completion_tokens = 0;  // with this one
  std::string_view text;     // what becomes visible with it; valid until the next advance()
  std::string_view dropped;  // llama.cpp: what no stream shows at the limit; its whole body does
  bool visible = true;       // false: llama.cpp writes no event for it (half character, held back)
  bool first = false;        // first token of its sequence
  Finish finish = Finish::kNone;
  StopKind stop_kind = StopKind::kNone;
  std::int32_t stop_index = -1;  // kWord: which of SequenceParams::stop
};

/// A sequence as the outside may look at it.
struct SequenceView {
  std::int32_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  Instant submitted_at{}, prefill_started_at{}, first_token_at{}, last_token_at{};
  std::int32_t slot = -1;  // -1: waits for one
};

class Sequence {
 public:
  /// `limit`: tokens at which it ends, at least 1. `seed` is used where the request has none.
  Sequence(SequenceId id, SequenceParams params, const EngineOptions& options,
           const TokenModel& tokens, std::int32_t limit, std::uint64_t seed);

  /// Makes the next token. Must not be called after an event with a finish.
  TokenEvent step(const EngineOptions& options, const TokenModel& tokens);

  SequenceId id() const { return id_; }
  const SequenceParams& params() const { return params_; }
  /// Tokens that occupy memory now.
  std::int32_t tokens_held() const { return view.prompt_tokens + view.completion_tokens; }

  SequenceView view;   // kept by the engine
  Instant ready_at{};  // when its prefill is done
  Duration prefill{};  // time its prefill takes, alone

 private:
  TokenId choose(const TokenModel& tokens) const;
  void finish_by_token(TokenEvent& event) const;
  bool match_stop(TokenEvent& event);
  std::size_t visible_end(Dialect dialect) const;
  bool tail_may_become_stop() const;

  SequenceId id_;
  SequenceParams params_;
  TokenState state_;
  Utf8Decoder decoder_;
  std::string text_;       // whole characters
  std::size_t whole_ = 0;  // its size after the last token that ended with a whole one
  std::size_t sent_ = 0;
  std::size_t stop_chars_max_ = 0;
  std::int32_t limit_;
  std::uint64_t seed_;
  bool sampled_;
  bool owes_final_ = false;
};

}  // namespace hf::simulator
