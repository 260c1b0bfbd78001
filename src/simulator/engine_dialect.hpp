// What differs between the simulated engines' HTTP APIs, behind one interface that EngineApi
// drives: reading requests, writing heads, pages, events and ends. Internal to the simulator.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "simulator/engine_api.hpp"
#include "simulator/engine_model.hpp"

namespace hf::simulator {

/// A whole HTTP answer without its head.
struct Page {
  int status = 200;
  std::string body;
  std::string_view content_type;  // empty: the dialect's JSON type
  std::int64_t retry_after_s = -1;
};

/// A request to generate, as the dialect read it.
struct GenerateCall {
  enum class Kind : std::uint8_t { kCompletions, kChat, kNative };
  Kind kind = Kind::kCompletions;
  std::string model;  // as answers name it
  bool stream = false;
  std::vector<SequenceParams> sequences;  // one a choice, in the order of their index
  std::vector<std::string> prompt_texts;  // one a choice
  std::int64_t prompt_tokens = 0;         // of all different prompts
  bool return_token_ids = false;          // vLLM
  bool include_usage = false;
  bool continuous_usage = false;
  bool echo = false;
  bool timings_per_token = false;  // llama.cpp
  bool verbose = false;
  bool return_tokens = false;
  std::int32_t logprobs = -1;    // alternatives a token; -1: none asked for
  std::int32_t max_tokens = -1;  // as sent
  std::int32_t reasoning = 0;    // the first so many tokens are reasoning, not content
  double temperature = -1;
  std::string tool_name;                               // a call of it is forced
  std::size_t arguments_begin = 0, arguments_end = 0;  // in the forced text
  bool structured = false;
};

struct Choice {
  SequenceId sequence = 0;
  std::int32_t index = 0;
  std::int32_t completion_tokens = 0;
  bool started = false;  // its first event (vLLM) or the role event (llama.cpp) was written
  bool ended = false;
  Finish finish = Finish::kNone;
  StopKind stop_kind = StopKind::kNone;
  std::int32_t stop_index = -1;
  TokenId stop_id = -1;
  bool has_new_line = false;
  std::size_t forced_bytes = 0;  // of the forced text, written so far
  std::size_t text_chars = 0;    // for text_offset
  std::string text;              // answers that are not streamed: all of it
  std::string reasoning;         // likewise, what was reasoning
  std::vector<TokenId> ids;
  std::vector<TokenId> log_ids;  // ids of log-probability entries, with the text of each
  std::vector<std::string> log_texts;
  SequenceView view;
};

/// An open answer.
struct ApiStream {
  std::uint64_t id = 0;
  GenerateCall call;
  std::string public_id;     // "cmpl-…"
  std::string event_prefix;  // the dialect's constant part of an event
  std::string event_suffix;
  std::int64_t created = 0;
  std::vector<Choice> choices;
  std::size_t choices_open = 0;
  Instant received_at{};
  std::string request_id;
  bool keep_alive = false;
  bool head_sent = false;
  bool token_written = false;
  bool poison = false;
  bool drop_ids = false;  // for the event that is being written
  std::optional<Instant> gone_at;
  std::string bytes;  // to be handed out by this poll
};

/// What a dialect may look at.
struct DialectContext {
  const EngineApiOptions* options = nullptr;
  const EngineModel* model = nullptr;
  Instant now{};
  std::int64_t unix_s = 0;
  std::size_t open_streams = 0;
};

class EngineDialect {
 public:
  virtual ~EngineDialect() = default;

  virtual bool generates(std::string_view method, std::string_view path) const = 0;
  /// A request to generate, or the engine's error.
  virtual std::expected<GenerateCall, Page> parse(std::string_view path, std::string_view body,
                                                  const DialectContext& context) const = 0;
  /// Every other endpoint; 404 for unknown ones.
  virtual Page page(std::string_view method, std::string_view path, std::string_view body,
                    const DialectContext& context) const = 0;

  /// The head of an answer; `length` empty: a stream in chunks.
  virtual void head(std::string& out, const Page& page, std::optional<std::size_t> length,
                    bool keep_alive, const DialectContext& context) const = 0;
  /// True: a stream's head goes out before its first token.
  virtual bool head_at_once() const = 0;

  /// Names the stream and prepares what all its events share.
  virtual void open(ApiStream& stream, Random& random, const DialectContext& context) const = 0;
  /// The chunks that one token makes; may be none.
  virtual void event(ApiStream& stream, Choice& choice, const TokenEvent& token, std::string& out,
                     const DialectContext& context) const = 0;
  /// What follows the last finish: usage, [DONE], the last chunk.
  virtual void close(ApiStream& stream, std::string& out, const DialectContext& context) const = 0;
  /// The body of an answer that is not streamed.
  virtual std::string whole(const ApiStream& stream, const DialectContext& context) const = 0;

  /// The engine behind the server died: error in the stream and its end; empty where the connection
  /// is just cut.
  virtual std::string death_in_stream() const = 0;
  /// The answer to a request that is refused with `status` by the fault of that name.
  virtual Page refusal(int status) const = 0;
};

std::unique_ptr<EngineDialect> make_vllm_dialect();
std::unique_ptr<EngineDialect> make_llama_dialect();
/// `as`: "openai" or "sglang".
std::unique_ptr<EngineDialect> make_plain_dialect(std::string as);

}  // namespace hf::simulator
