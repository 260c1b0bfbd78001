// A model of an inference engine, without bytes: slots, prefill, batched decode steps, text held
// back for stop strings and half characters, limits and counters, in the two dialects that were
// recorded.
//
// No sockets, no clock, no threads: time comes in as Instant, and next_event_at() says when to call
// advance() again. Time must not go backwards. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/random.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "simulator/sequence.hpp"
#include "simulator/token_model.hpp"

namespace hf::simulator {

struct EngineCounters {
  std::int32_t running = 0;  // have a slot, prefill included
  std::int32_t waiting = 0;
  std::uint64_t requests = 0, finished_stop = 0, finished_length = 0, aborted = 0;
  std::uint64_t prompt_tokens = 0;         // of all sequences that got a slot
  std::uint64_t prompt_tokens_cached = 0;  // of these, found in the prefix cache
  std::uint64_t generated_tokens = 0;
  std::uint64_t steps = 0;
  std::uint64_t first_tokens = 0;                           // sequences that have begun to answer
  double first_token_seconds = 0, inter_token_seconds = 0;  // sums
  double kv_usage = 0;                                      // 0…1
};

class EngineModel {
 public:
  explicit EngineModel(EngineOptions options);
  ~EngineModel();
  EngineModel(const EngineModel&) = delete;
  EngineModel& operator=(const EngineModel&) = delete;

  /// Queues a sequence. Errors: kTooLarge (prompt does not fit: vLLM wants room for one token),
  /// kBadInput (empty prompt, id out of the vocabulary).
  Result<SequenceId> submit(SequenceParams params, Instant now);
  /// Frees its slot at once; unknown ids are ignored. Counts as aborted.
  void cancel(SequenceId id, Instant now);

  /// Runs at most one decode step that is due at `now` and appends its tokens to `out`. A late call
  /// never makes up for missed steps (a stopped process does not write a burst when it goes on).
  void advance(Instant now, std::vector<TokenEvent>& out);
  /// When advance() has something to do next; kNever when idle, wedged or frozen without end.
  Instant next_event_at() const;

  /// Nothing happens before `until` (kNever: for ever, until called again with an earlier time).
  void hold_until(Instant until);
  /// Everything takes `factor` times as long; 1 = normal, > 0.
  void set_slow(double factor);
  /// Takes requests, never makes another token.
  void set_wedged(bool wedged) { wedged_ = wedged; }
  /// Ends all sequences with finish kAbort, as vLLM does at SIGTERM; events into `out`.
  void abort_all(std::vector<TokenEvent>& out);
  /// Forgets all sequences without a word (the engine process died).
  void drop_all();

  const EngineOptions& options() const { return options_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  const TokenModel& tokens() const { return tokens_; }
  EngineCounters counters() const;
  /// Of ended sequences until the next advance(), then empty.
  std::optional<SequenceView> view(SequenceId id) const;
  /// The sequence that has this slot (0…), if any.
  std::optional<SequenceView> slot(std::int32_t slot) const;

  /// The oracle: the ids a whole answer must have, and its text as a client must see it.
  struct Answer {
    std::vector<TokenId> ids;
    std::string text;
    std::string whole_text;  // of an answer that is not streamed
    Finish finish = Finish::kNone;
    StopKind stop_kind = StopKind::kNone;
  };
  Answer expected(const SequenceParams& params) const;

 private:
  Instant due() const;
  std::int32_t limit(const SequenceParams& params) const;
  void fill_slots(Instant now);
  void start_prefill(Sequence& sequence, Instant now);
  void plan_prefill(Sequence& sequence, Instant start);
  void replan_prefill(Instant now);
  std::int32_t cached_prefix(const std::vector<TokenId>& prompt);
  void step_all(Instant now, std::vector<TokenEvent>& out);
  void count_finish(Finish finish);
  void release(const Sequence& sequence);
  Duration scaled(double seconds) const;

  EngineOptions options_;
  std::unique_ptr<Vocabulary> own_vocabulary_;  // variants only
  const Vocabulary* vocabulary_;
  TokenModel tokens_;
  Random random_;
  std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;                // in the order of their arrival
  std::vector<std::unique_ptr<Sequence>> ended_;  // keep texts alive until the next advance
  std::deque<SequenceId> waiting_;                // may name cancelled ones
  std::int32_t waiting_count_ = 0;
  std::vector<bool> slot_used_;
  std::int64_t kv_tokens_ = 0;
  SequenceId last_id_ = 0;
  Instant prefill_free_at_{};
  Instant next_step_at_{};
  Instant held_until_{};
  double slow_ = 1;
  bool wedged_ = false;
  EngineCounters totals_;
  std::unordered_set<std::uint64_t> cached_blocks_;
  std::deque<std::uint64_t> cached_order_;
};

}  // namespace hf::simulator
