#include "simulator/sequence.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "base/random.hpp"

namespace hf::simulator {
namespace {

bool continuation_byte(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

std::size_t count_chars(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !continuation_byte(c); }));
}

// Where the last `chars` characters of `text` begin.
std::size_t cut_chars(std::string_view text, std::size_t chars) {
  std::size_t at = text.size();
  while (at > 0 && chars > 0) {
    --at;
    if (!continuation_byte(text[at])) --chars;
  }
  return at;
}

bool is_sampled(const SequenceParams& params, const EngineOptions& options) {
  if (options.greedy_always) return false;
  return params.temperature != 0;  // below 0: the engine's default, which is not greedy either
}

}  // namespace

Sequence::Sequence(SequenceId id, SequenceParams params, const EngineOptions& options,
                   const TokenModel& tokens, std::int32_t limit, std::uint64_t seed)
    : id_(id),
      params_(std::move(params)),
      state_(tokens.start()),
      limit_(limit),
      seed_(params_.seed.value_or(seed)),
      sampled_(is_sampled(params_, options)) {
  HF_ASSERT(limit_ >= 1);
  if (params_.adapter != 0) state_.hash = mix64(state_.hash ^ params_.adapter);
  tokens.push(state_, params_.prompt);
  // An answer may begin in the middle of a character that the prompt began.
  std::string none;
  decoder_.push({state_.half.data(), state_.half_size}, none);
  for (const std::string& stop : params_.stop) {
    stop_chars_max_ = std::max(stop_chars_max_, count_chars(stop));
  }
  view.prompt_tokens = static_cast<std::int32_t>(params_.prompt.size());
}

TokenId Sequence::choose(const TokenModel& tokens) const {
  const auto made = static_cast<std::size_t>(view.completion_tokens);
  if (!params_.forced.empty()) {
    return made < params_.forced.size() ? params_.forced[made] : kImEnd;
  }
  // The draw depends on how many tokens *this* request made: a replay repeats, a continuation does
  // not (vLLM's V1 runner and llama.cpp both draw from a sequential generator).
  const std::uint64_t noise = sampled_ ? (mix64(seed_ ^ mix64(made + 1)) | 1) : 0;
  const bool eos_allowed = !params_.ignore_eos && view.completion_tokens >= params_.min_tokens;
  return tokens.next(state_, noise, eos_allowed);
}

TokenEvent Sequence::step(const EngineOptions& options, const TokenModel& tokens) {
  TokenEvent event;
  event.sequence = id_;
  if (owes_final_) {
    event.completion_tokens = view.completion_tokens;
    event.finish = Finish::kStop;
    event.stop_kind = StopKind::kEos;
    event.text = std::string_view(text_).substr(sent_);
    sent_ = text_.size();
    return event;
  }
  event.id = choose(tokens);
  event.first = view.completion_tokens == 0;
  tokens.push(state_, event.id);
  event.completion_tokens = ++view.completion_tokens;
  const bool stops_by_id = event.completion_tokens > params_.min_tokens &&
                           std::find(params_.stop_token_ids.begin(), params_.stop_token_ids.end(),
                                     event.id) != params_.stop_token_ids.end();
  if (!tokens.vocabulary().special(event.id) && !stops_by_id) {
    decoder_.push(tokens.vocabulary().bytes(event.id), text_);
  }
  finish_by_token(event);
  if (stops_by_id && event.finish != Finish::kStop) {
    event.finish = Finish::kStop;
    event.stop_kind = StopKind::kTokenId;
  }
  if (!decoder_.pending() && match_stop(event)) {
    event.finish = Finish::kStop;
    event.stop_kind = StopKind::kWord;
  }
  if (!decoder_.pending()) whole_ = text_.size();
  // Recorded: llama.cpp drops what it still holds back when the limit is reached. A last token that
  // ends in half a character shows nothing, what was held back before it included.
  const bool drops = options.dialect == Dialect::kLlama && event.finish == Finish::kLength &&
                     (decoder_.pending() || tail_may_become_stop());
  const std::size_t end = drops                           ? sent_
                          : event.finish != Finish::kNone ? whole_
                                                          : visible_end(options.dialect);
  if (end > sent_) {
    event.text = std::string_view(text_).substr(sent_, end - sent_);
    sent_ = end;
  }
  if (drops) {
    if (decoder_.pending()) text_ += "\xEF\xBF\xBD";
    event.dropped = std::string_view(text_).substr(sent_);
  }
  event.visible = options.dialect == Dialect::kVllm || !decoder_.pending();
  if (options.eos_before_final && event.stop_kind == StopKind::kEos) {
    owes_final_ = true;
    event.finish = Finish::kNone;
    event.stop_kind = StopKind::kNone;
  }
  return event;
}

void Sequence::finish_by_token(TokenEvent& event) const {
  const bool forced_end = !params_.forced.empty() &&
                          static_cast<std::size_t>(event.completion_tokens) > params_.forced.size();
  if (event.id == kImEnd && (forced_end || !params_.ignore_eos)) {
    event.finish = Finish::kStop;
    event.stop_kind = StopKind::kEos;
  } else if (event.completion_tokens >= limit_) {
    event.finish = Finish::kLength;
    event.stop_kind = StopKind::kLimit;
  }
}

// Cuts the text before the first stop string that ends in what is new.
bool Sequence::match_stop(TokenEvent& event) {
  if (event.completion_tokens <= params_.min_tokens) return false;
  for (std::size_t i = 0; i < params_.stop.size(); ++i) {
    const std::string& stop = params_.stop[i];
    const std::size_t from = whole_ + 1 > stop.size() ? whole_ + 1 - stop.size() : 0;
    const std::size_t at = text_.find(stop, from);
    if (at == std::string::npos) continue;
    text_.resize(std::max(at, sent_));
    event.stop_index = static_cast<std::int32_t>(i);
    return true;
  }
  return false;
}

// How far the text may be shown while the sequence goes on. Neither shows text of a token that ends
// in a half character. For stop strings vLLM keeps back as many characters as the longest stop
// string could still need, always; llama.cpp keeps all that was not sent, but only while its tail
// is the beginning of a stop string.
std::size_t Sequence::visible_end(Dialect dialect) const {
  if (decoder_.pending()) return sent_;
  if (dialect == Dialect::kVllm) {
    if (stop_chars_max_ < 2) return text_.size();
    return std::max(sent_, cut_chars(text_, stop_chars_max_ - 1));
  }
  return tail_may_become_stop() ? sent_ : text_.size();
}

bool Sequence::tail_may_become_stop() const {
  const std::string_view unsent = std::string_view(text_).substr(sent_);
  for (const std::string& stop : params_.stop) {
    for (std::size_t size = std::min(stop.size() - 1, unsent.size()); size > 0; --size) {
      if (unsent.ends_with(std::string_view(stop).substr(0, size))) return true;
    }
  }
  return false;
}

}  // namespace hf::simulator
