#include "simulator/engine_model.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace hf::simulator {
namespace {

constexpr std::size_t kCacheBlockTokens = 16;
constexpr std::size_t kCacheBlocksMax = 65'536;
constexpr std::int32_t kVllmSlots = 256;
constexpr std::int32_t kLlamaSlots = 4;

std::int32_t slot_count(const EngineOptions& options) {
  if (options.slots > 0) return options.slots;
  return options.dialect == Dialect::kVllm ? kVllmSlots : kLlamaSlots;
}

}  // namespace

EngineModel::EngineModel(EngineOptions options)
    : options_(options),
      own_vocabulary_(options.variant == 0 ? nullptr
                                           : std::make_unique<Vocabulary>(options.variant)),
      vocabulary_(own_vocabulary_ ? own_vocabulary_.get() : &Vocabulary::standard()),
      tokens_(*vocabulary_, options.eos_every, options.odd_characters_every),
      random_(options.seed),
      slot_used_(static_cast<std::size_t>(slot_count(options)), false) {
  HF_ASSERT(options_.model_len >= 2 && options_.prefill_tokens_per_s > 0);
}

EngineModel::~EngineModel() = default;

std::int32_t EngineModel::limit(const SequenceParams& params) const {
  const std::int32_t room = options_.model_len - static_cast<std::int32_t>(params.prompt.size());
  if (params.max_tokens < 0) return room;
  return std::min(room, std::max(params.max_tokens, 1));
}

Result<SequenceId> EngineModel::submit(SequenceParams params, Instant now) {
  if (params.prompt.empty()) return fail(Code::kBadInput, "the prompt is empty");
  for (const TokenId id : params.prompt) {
    if (!vocabulary_->valid(id)) {
      return fail(Code::kBadInput, "token id " + std::to_string(id) + " is not in the vocabulary");
    }
  }
  if (params.prompt.size() >= static_cast<std::size_t>(options_.model_len)) {
    return fail(Code::kTooLarge, "the prompt has " + std::to_string(params.prompt.size()) +
                                     " tokens, the model length is " +
                                     std::to_string(options_.model_len));
  }
  const SequenceId id = ++last_id_;
  const std::int32_t tokens_max = limit(params);
  auto sequence = std::make_unique<Sequence>(id, std::move(params), options_, tokens_, tokens_max,
                                             random_.next());
  sequence->view.submitted_at = now;
  sequences_.emplace(id, std::move(sequence));
  waiting_.push_back(id);
  ++waiting_count_;
  ++totals_.requests;
  fill_slots(now);
  return id;
}

void EngineModel::fill_slots(Instant now) {
  while (!waiting_.empty()) {
    const auto found = sequences_.find(waiting_.front());
    if (found == sequences_.end()) {  // cancelled while it waited
      waiting_.pop_front();
      continue;
    }
    const auto free = std::find(slot_used_.begin(), slot_used_.end(), false);
    if (free == slot_used_.end()) return;
    waiting_.pop_front();
    --waiting_count_;
    *free = true;
    Sequence& sequence = *found->second;
    sequence.view.slot = static_cast<std::int32_t>(free - slot_used_.begin());
    running_.push_back(&sequence);
    start_prefill(sequence, now);
  }
}

void EngineModel::start_prefill(Sequence& sequence, Instant now) {
  const std::int32_t prompt = sequence.view.prompt_tokens;
  sequence.view.cached_tokens = options_.prefix_cache ? cached_prefix(sequence.params().prompt) : 0;
  totals_.prompt_tokens += static_cast<std::uint64_t>(prompt);
  totals_.prompt_tokens_cached += static_cast<std::uint64_t>(sequence.view.cached_tokens);
  kv_tokens_ += prompt;
  const double computed = prompt - sequence.view.cached_tokens;
  sequence.prefill = scaled(computed / options_.prefill_tokens_per_s);
  plan_prefill(sequence, std::max(now, prefill_free_at_));
}

void EngineModel::plan_prefill(Sequence& sequence, Instant start) {
  sequence.view.prefill_started_at = start;
  prefill_free_at_ = start + sequence.prefill;
  sequence.ready_at = prefill_free_at_ + scaled(seconds(options_.ttft));
}

// After a cancellation: prompts that were not begun move up.
void EngineModel::replan_prefill(Instant now) {
  prefill_free_at_ = now;
  for (Sequence* sequence : running_) {
    if (sequence->view.prefill_started_at <= now) {
      prefill_free_at_ =
          std::max(prefill_free_at_, sequence->view.prefill_started_at + sequence->prefill);
    }
  }
  for (Sequence* sequence : running_) {
    if (sequence->view.prefill_started_at > now) plan_prefill(*sequence, prefill_free_at_);
  }
}

std::int32_t EngineModel::cached_prefix(const std::vector<TokenId>& prompt) {
  TokenState state = tokens_.start();
  std::size_t cached = 0;
  bool hit = true;
  for (std::size_t i = 0; i < prompt.size(); ++i) {
    tokens_.push(state, prompt[i]);
    if ((i + 1) % kCacheBlockTokens != 0) continue;
    const bool is_new = cached_blocks_.insert(state.hash).second;
    if (is_new) cached_order_.push_back(state.hash);
    hit = hit && !is_new;
    if (hit) cached = i + 1;
  }
  while (cached_order_.size() > kCacheBlocksMax) {
    cached_blocks_.erase(cached_order_.front());
    cached_order_.pop_front();
  }
  return static_cast<std::int32_t>(std::min(cached, prompt.size() - 1));
}

Duration EngineModel::scaled(double s) const {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s * slow_));
}

Instant EngineModel::due() const {
  Instant ready = kNever;
  for (const Sequence* sequence : running_) {
    ready = std::min(ready, sequence->ready_at);
    if (ready <= next_step_at_) break;
  }
  return ready == kNever ? kNever : std::max(ready, next_step_at_);
}

Instant EngineModel::next_event_at() const {
  if (wedged_ || running_.empty()) return kNever;
  return std::max(due(), held_until_);
}

void EngineModel::advance(Instant now, std::vector<TokenEvent>& out) {
  ended_.clear();
  const Instant at = next_event_at();
  if (at == kNever || now < at) return;
  const Duration step = scaled(seconds(options_.itl));
  next_step_at_ = now - at > step ? now + step : at + step;
  step_all(now, out);
  fill_slots(now);
}

void EngineModel::step_all(Instant now, std::vector<TokenEvent>& out) {
  ++totals_.steps;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.ready_at > now) {
      running_[kept++] = &sequence;
      continue;
    }
    const TokenEvent event = sequence.step(options_, tokens_);
    if (event.id >= 0) {
      ++totals_.generated_tokens;
      ++kv_tokens_;
    }
    if (event.first) {
      sequence.view.first_token_at = now;
      ++totals_.first_tokens;
      totals_.first_token_seconds += seconds(now - sequence.view.submitted_at);
    } else {
      totals_.inter_token_seconds += seconds(now - sequence.view.last_token_at);
    }
    sequence.view.last_token_at = now;
    out.push_back(event);
    if (event.finish == Finish::kNone) {
      running_[kept++] = &sequence;
    } else {
      count_finish(event.finish);
      release(sequence);
    }
  }
  running_.resize(kept);
}

void EngineModel::count_finish(Finish finish) {
  if (finish == Finish::kStop) ++totals_.finished_stop;
  if (finish == Finish::kLength) ++totals_.finished_length;
  if (finish == Finish::kAbort) ++totals_.aborted;
}

// Leaves running_ alone: callers do that.
void EngineModel::release(const Sequence& sequence) {
  if (sequence.view.slot >= 0) {
    slot_used_[static_cast<std::size_t>(sequence.view.slot)] = false;
    kv_tokens_ -= sequence.tokens_held();
  } else {
    --waiting_count_;
  }
  const auto found = sequences_.find(sequence.id());
  ended_.push_back(std::move(found->second));
  sequences_.erase(found);
}

void EngineModel::cancel(SequenceId id, Instant now) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  Sequence& sequence = *found->second;
  std::erase(running_, &sequence);
  count_finish(Finish::kAbort);
  release(sequence);
  replan_prefill(now);
  fill_slots(now);
}

void EngineModel::hold_until(Instant until) {
  held_until_ = until;
}

void EngineModel::set_slow(double factor) {
  HF_ASSERT(factor > 0);
  slow_ = factor;
}

void EngineModel::abort_all(std::vector<TokenEvent>& out) {
  ended_.clear();
  std::vector<SequenceId> ids;
  ids.reserve(sequences_.size());
  for (const auto& [id, sequence] : sequences_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  running_.clear();
  for (const SequenceId id : ids) {
    const Sequence& sequence = *sequences_.at(id);
    TokenEvent event;
    event.sequence = id;
    event.completion_tokens = sequence.view.completion_tokens;
    event.finish = Finish::kAbort;
    out.push_back(event);
    count_finish(Finish::kAbort);
    release(sequence);
  }
  waiting_.clear();
}

void EngineModel::drop_all() {
  running_.clear();
  sequences_.clear();
  ended_.clear();
  waiting_.clear();
  waiting_count_ = 0;
  kv_tokens_ = 0;
  std::fill(slot_used_.begin(), slot_used_.end(), false);
}

EngineCounters EngineModel::counters() const {
  EngineCounters counters = totals_;
  counters.running = static_cast<std::int32_t>(running_.size());
  counters.waiting = waiting_count_;
  counters.kv_usage = static_cast<double>(kv_tokens_) / options_.kv_tokens_max;
  return counters;
}

std::optional<SequenceView> EngineModel::view(SequenceId id) const {
  const auto found = sequences_.find(id);
  if (found != sequences_.end()) return found->second->view;
  for (const auto& sequence : ended_) {
    if (sequence->id() == id) return sequence->view;
  }
  return std::nullopt;
}

std::optional<SequenceView> EngineModel::slot(std::int32_t slot) const {
  for (const Sequence* sequence : running_) {
    if (sequence->view.slot == slot) return sequence->view;
  }
  return std::nullopt;
}

EngineModel::Answer EngineModel::expected(const SequenceParams& params) const {
  Sequence sequence(1, params, options_, tokens_, limit(params), options_.seed);
  Answer answer;
  while (answer.finish == Finish::kNone) {
    const TokenEvent event = sequence.step(options_, tokens_);
    if (event.id >= 0) answer.ids.push_back(event.id);
    answer.text += event.text;
    answer.whole_text = answer.text;
    answer.whole_text += event.dropped;
    answer.finish = event.finish;
    answer.stop_kind = event.stop_kind;
  }
  return answer;
}

}  // namespace hf::simulator
