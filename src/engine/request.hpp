// What we know of a client's request: its own bytes, and where the fields are in them.
//
// The body is read once, here. It goes to engines as it came (a few members spliced in), so nothing
// is interpreted that an engine may judge better: a wrong type in a field that we don't need is the
// engine's to refuse. The features found decide later, by the dialect's allow-list, whether the
// request may go on from token ids (behaviour.md section 2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "core/types.hpp"
#include "wire/json.hpp"

namespace hf::engine {

/// At most so many members at the top of a body; more is an error.
inline constexpr std::size_t kRequestFieldsMax = 256;

/// What the fields say together, or deeper inside; what one field says alone is the allow-list's.
enum class Feature : std::uint8_t {
  kDuplicateField,     // a name came twice
  kUnreadValue,        // a field that we must understand has a type that we don't read
  kTwoLimits,          // max_tokens, max_completion_tokens, n_predict disagree
  kMinTokensWithStop,  // vLLM matches no stop strings before min_tokens
  kPromptList,         // several prompts, or a list of one
  kNonTextContent,     // images, audio, files, unknown parts
  kStreamOption,       // an unknown key in stream_options
};
inline constexpr std::size_t kFeatureCount = static_cast<std::size_t>(Feature::kStreamOption) + 1;

/// The table's word for it, e.g. "prompt list".
std::string_view feature_name(Feature feature);

/// One top-level member of the body.
struct Field {
  std::string name;       // unescaped
  wire::JsonSpan value;   // in body
  wire::JsonSpan member;  // in body, key to value
  wire::JsonKind kind = wire::JsonKind::kNull;
  bool neutral = false;  // asks for nothing: null, false, 0, "", [], {}
};

struct ClientRequest {
  core::Endpoint endpoint = core::Endpoint::kCompletions;
  std::string body;   // the client's bytes
  std::string model;  // empty: not given

  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool wants_ids = false;  // the client itself asked for token ids

  /// As given; nullopt: not given, null, or negative (llama.cpp: no limit). See
  /// Dialect::default_max_tokens.
  std::optional<std::int64_t> max_tokens;
  std::int64_t min_tokens = 0;
  std::vector<std::string> stop;
  std::vector<core::TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool greedy = false;  // temperature is given, and is 0

  bool has_prompt_ids = false;  // the prompt was given as one list of ids
  std::vector<core::TokenId> prompt_ids;
  std::size_t prompt_bytes = 0;  // size of the prompt's or messages' JSON, for load estimates

  std::vector<Field> fields;
  std::uint64_t features = 0;   // bit set of Feature
  std::string unread_field;     // the first field whose value has a type that we don't read
  std::string duplicate_field;  // the first name that came twice

  bool has(Feature feature) const { return (features >> static_cast<unsigned>(feature)) & 1; }
  /// The last field of that name (as the engines' parsers see it), or nullptr.
  const Field* find(std::string_view name) const;
  std::string_view value_of(const Field& field) const { return field.value.of(body); }
};

/// How many choices its answer has; 0: several, and only the engine knows how many.
std::int64_t choices_of(const ClientRequest& request);

/// Reads a body of any bytes. Errors (kBadInput, kTooLarge) are the client's: their detail names
/// the field and fits the message of an OpenAI 400.
Result<ClientRequest> scan_request(core::Endpoint endpoint, std::string body);

}  // namespace hf::engine
