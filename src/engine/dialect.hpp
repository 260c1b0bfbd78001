// What each engine needs to be asked, and what it allows. One stateless object a kind; everything
// here is a pure function of its arguments and may be called from any thread.
//
// | | vLLM | llama.cpp | openai |
// | first attempt | the client's endpoint | the client's endpoint | the client's endpoint |
// | ids and counts | return_token_ids, continuous usage | chat: logprobs, timings; else verbose | -
// | | resume by ids | /v1/completions | /completion | - (restart only) |
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/types.hpp"
#include "engine/request.hpp"

namespace hf::engine {

enum class Kind : std::uint8_t { kVllm, kLlamaCpp, kOpenAi };
std::string_view to_string(Kind kind);  // "vllm", "llama.cpp", "openai"

/// A request to an engine, without host and headers. An empty body goes with GET.
struct WireRequest {
  std::string_view method = "POST";
  std::string path;
  std::string body;
  bool ids_added = false;  // ids or counts were asked for that the client did not ask for
};

struct ResumeSpec {
  std::vector<core::TokenId> prompt_ids;
  std::vector<core::TokenId> sent_ids;
  std::int64_t max_tokens =
      0;  // what remains; > 0 (llama.cpp writes one token when asked for none)
  std::int64_t min_tokens = 0;  // rebased; <= 0 is left out
};

/// What an engine says of itself on its metrics page; -1 where it says nothing.
struct EngineLoad {
  double running = -1;
  double waiting = -1;
  double kv_used = -1;  // 0…1, the fullest of its ranks
  double prompt_tokens_total = -1;
  double generation_tokens_total = -1;
};

/// What goes to another engine where only the text is known.
struct TextSpec {
  std::string_view text;        // that the client has, not empty
  std::int64_t max_tokens = 0;  // what remains; 0: no limit known
  std::int64_t min_tokens = 0;  // rebased
};

class Dialect {
 public:
  static const Dialect& of(Kind kind);

  Kind kind() const { return kind_; }

  /// nullopt when mode `tokens` may be used for the request; else the name of the field or feature
  /// that forbids it. An allow-list: what is not known here forbids. A request that does not stream
  /// must be one whose whole body can be made from a stream too (see assembly_refused_by).
  std::optional<std::string> tokens_refused_by(const ClientRequest& request) const;

  /// nullopt when mode `text` may be used: the same allow-list of plain text, and no prefix of the
  /// client's own (a last message of the assistant, a prompt of ids).
  std::optional<std::string> text_refused_by(const ClientRequest& request) const;

  /// Why a request that does not stream is not generated as one although its fields allow it: it is
  /// so short that starting anew costs as much, or the engine's stream tells less than its whole
  /// body does.
  std::optional<std::string> assembly_refused_by(const ClientRequest& request) const;

  /// The first attempt, or a restart: the client's own endpoint and bytes. With `with_ids`, and if
  /// the request allows `tokens`, the members that make the engine tell ids and counts are spliced
  /// in (for one that does not stream, also those that make it one), and `ids_added` is set; else
  /// the body is the client's.
  WireRequest first(const ClientRequest& request, bool with_ids) const;

  /// The rest of a generation on the engine's token endpoint: prompt, sent ids and limits stated,
  /// re-entrant fields copied as the client wrote them. Both endpoints of an engine share their
  /// sampling defaults, so what the client left out stays out. Precondition: tokens_refused_by is
  /// nullopt, spec.max_tokens > 0.
  WireRequest resume(const ClientRequest& request, const ResumeSpec& spec) const;

  /// The client's own body with the text so far as an assistant prefix, in the form that this
  /// engine continues, and the limits rebased. Precondition: text_refused_by is nullopt.
  WireRequest resume_text(const ClientRequest& request, const TextSpec& spec) const;

  /// How many tokens the request may generate: the client's limit or the endpoint's default (vLLM
  /// completions: 16; everything else: what fits), at most model_len - prompt_tokens. `model_len`
  /// <= 0 is unknown. -1: no limit known.
  std::int64_t default_max_tokens(const ClientRequest& request, std::int64_t model_len,
                                  std::int64_t prompt_tokens) const;

  std::string_view health_path() const;
  /// Empty when the engine has no such page.
  std::string_view metrics_path() const;
  /// Reads a Prometheus page of any bytes; series of several ranks are summed.
  EngineLoad load(std::string_view metrics_page) const;

 private:
  explicit Dialect(Kind kind) : kind_(kind) {}
  Kind kind_;
};

/// The same request for another model: every other byte is the client's.
Result<ClientRequest> with_model(const ClientRequest& request, std::string_view model);

/// The table of docs/: what each field of a request means for mode `tokens`, as Markdown, generated
/// from the allow-lists themselves.
std::string feature_table();

}  // namespace hf::engine
