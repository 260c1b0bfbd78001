// One request from admission to its last byte: which worker, which attempt owns the client's
// stream, and how it goes on when that attempt breaks. The heart of Holdfast.
//
// It does no I/O, reads no clock and starts no thread: each input carries the time, each decision
// is a call on RequestActions. A driver (production: frontend, tests: simulator) carries them out
// and reports back, never from inside such a call. Runs on one core; not thread-safe.
//
//   waiting ──placed──▶ preparing (questions to the replacement) ──▶ running ──finish──▶ finishing
//      ▲                     │ question failed                          │ attempt failed
//      └─────────────────────┴──────────────────────────────────────────┘        ──▶ done
//
// The rules it keeps (docs/migration.md):
//  - At any time at most one attempt owns the client's stream; every other one only hedges.
//  - A stream goes on by ids only while its ledger is proved complete; else it restarts (nothing
//  was
//    sent) or ends in one clear error. What was sent is never sent again.
//  - Every wait has a deadline: deadline() is when tick() must be called next.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "core/admission.hpp"
#include "core/budget.hpp"
#include "core/client_error.hpp"
#include "core/ledger.hpp"
#include "core/router.hpp"
#include "core/stop_matcher.hpp"
#include "core/types.hpp"

namespace hf::core {

using AttemptId = std::uint32_t;

struct MigrationOptions {
  bool restart = true;  // continuation.modes
  bool tokens = true;
  bool text = false;  // opt-in: the text so far as an assistant prefix, another sample of it
  bool strict_identity = false;                       // continuation.identity: strict
  Duration admission_hold = std::chrono::seconds(5);  // a new request without a worker
  Duration resume_hold = std::chrono::seconds(60);    // a started stream without a worker
  Duration hedge_after = std::chrono::seconds(5);     // silence between tokens
  Duration hedge_spread = std::chrono::seconds(1);    // streams of a suspect worker
  Duration first_token_hedge = std::chrono::seconds(10);
  Duration token_limit = std::chrono::seconds(30);         // between tokens, hard
  Duration first_token_limit = std::chrono::seconds(600);  // hard
  Duration first_token_silent = std::chrono::seconds(30);  // hard, while no probe is answered
  Duration tail_limit = std::chrono::seconds(2);           // from the finish reason to the end
  Duration comment_every = std::chrono::seconds(5);
  Duration verdict_limit = std::chrono::seconds(3);  // is the worker that cut us dead or not?
  Duration retry_after_max = std::chrono::seconds(10);
  std::int64_t queue_max = 1'000;  // new requests that wait for a worker, over all cores
  std::int64_t queue_bytes_max = std::int64_t{256} * 1024 * 1024;
  int attempts_without_progress = 4;
  int poison_deaths = 3;
  std::size_t poison_tokens = 16;
  std::size_t whole_bytes_max = 64UL * 1024 * 1024;  // text of an answer that is assembled
};

/// What the machine must know of a request. Kind-indexed facts are indexed by engine::Kind.
struct RequestSpec {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string model;
  std::vector<std::string> fallback;  // models to take, in this order, where it has no worker
  std::uint64_t session = 0;          // hash of its session; 0: none
  std::size_t body_bytes = 0;         // what it holds while it waits
  bool stream = true;
  std::int64_t choices = 1;  // that each end on their own; 0: several, nobody knows how many
  bool include_usage = false;
  std::vector<bool> tokens_allowed;        // by kind: every field is re-entrant there; without
                                           // `stream`: the whole body can be made from a stream
  std::vector<bool> text_allowed;          // by kind: it can go on from its text there
  std::vector<bool> adds_fields;           // by kind: the first attempt asks for ids
  std::optional<std::int64_t> max_tokens;  // the client's own
  std::vector<std::int64_t> default_max;   // by kind, without the client's: 0 = up to the length
  std::vector<bool> drops_held_text;       // by kind: at the limit, as llama.cpp does
  std::int64_t min_tokens = 0;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool greedy = false;                      // what was written can be written again
  std::vector<TokenId> prompt_ids;          // when the client sent ids
  std::int64_t prompt_tokens_estimate = 0;  // from its size
  std::int64_t prompt_tokens_min = 0;       // that it surely has; 0: nothing is sure
  // An endpoint whose answer goes on byte by byte, not read as tokens: `stream` is false then.
  bool relayed = false;
  bool repeatable = true;  // relayed: may be sent again when an engine has perhaps begun with it
};

enum class CancelMode : std::uint8_t { kStop, kKill };

enum class Question : std::uint8_t { kPromptIds, kFillGaps, kText };

struct OpenAttempt {
  AttemptId attempt = 0;
  std::string_view model;  // the client's own, or one of its fallbacks; valid during open()
  std::size_t worker = 0;
  Mode mode = Mode::kFirst;
  bool with_ids = false;        // kFirst, kRestart: ask for ids
  bool stream = true;           // upstream; for a client that does not: assembled
  std::int64_t max_tokens = 0;  // kTokens, kText: what is left, > 0; 0 = no limit known
  std::int64_t min_tokens = 0;  // kTokens, kText: rebased
  bool exact = true;            // kTokens: same identity as the worker before
};

/// What a driver carries out. Nothing here may call back into the machine before it returns.
class RequestActions {
 public:
  virtual ~RequestActions() = default;
  virtual void open(const OpenAttempt& open) = 0;
  /// Close the attempt; nothing of it is to be reported any more.
  virtual void cancel(AttemptId attempt) = 0;
  /// An attempt or a question failed there, whoever noticed: the fleet wants to know.
  virtual void report(std::size_t worker, Reason reason) = 0;
  /// Put a question to a worker; answered by on_answer / on_answer_failed.
  virtual void ask(Question question, std::size_t worker, std::uint32_t plan) = 0;
  // Of a request that does not stream, what is sent from here on is kept until complete().

  /// Send the event that is being reported right now, edited as its reader says.
  virtual void forward(AttemptId attempt) = 0;
  /// Send the role / text / the finish reason / usage in events of our own.
  virtual void say_role() = 0;
  virtual void say(std::string_view text) = 0;
  virtual void say_finish(Finish finish, std::string_view stop_string) = 0;
  virtual void say_usage() = 0;
  /// A comment line, only in a stream whose head was sent.
  virtual void comment(std::string_view text) = 0;
  /// What was kept of an answer is void: it begins anew.
  virtual void discard() = 0;
  /// The answer is complete: [DONE], end in order; or the whole body. Last call.
  virtual void complete() = 0;
  /// Relayed: the answer's head and its first bytes go to the client, and all that follow.
  virtual void relay_begin(AttemptId attempt) = 0;
  /// The engine's whole response (error or non-streaming) goes to the client. Last call.
  virtual void relay_whole(AttemptId attempt) = 0;
  /// Last call.
  virtual void fail(const ClientError& error) = 0;
};

/// Everything outside of the request that it may look at or draw from; one a core.
struct CoreContext {
  const FleetView* view = nullptr;  // never null when the machine is called
  Router* router = nullptr;
  RetryBudget* retries = nullptr;
  HedgeBudget* hedges = nullptr;
  Random* random = nullptr;
  std::int64_t running_requests = 0;
  Duration first_token_p99{};           // of recent requests, for the first-token hedge
  AdmissionQueue* admission = nullptr;  // shared by the cores; null: no bound
  std::uint64_t retries_refused = 0;    // for want of budget
  std::uint64_t hedges_refused = 0;
};

/// For the access log and the metrics.
struct Migration {
  Mode mode = Mode::kRestart;
  Reason reason = Reason::kNone;
  bool ok = false;
  bool exact = true;
  Duration pause{};  // last token before to first token after
};
struct RequestRecord {
  std::vector<std::size_t> workers;
  std::vector<Migration> migrations;
  std::uint32_t attempts = 0;
  std::uint32_t hedges = 0;
  std::uint32_t hedges_won = 0;
  std::uint32_t hedges_lost = 0;       // the owner moved first
  std::uint32_t hedges_failed = 0;     // on their own
  std::uint32_t hedges_inherited = 0;  // the owner failed first
  std::uint32_t hedges_dropped = 0;    // the request ended
  std::uint64_t wasted_tokens = 0;     // received from attempts and never sent
  Instant first_token_at{};
};

class RequestMachine {
 public:
  enum class State : std::uint8_t { kNew, kWaiting, kPreparing, kRunning, kFinishing, kDone };

  RequestMachine(RequestSpec spec, MigrationOptions options, CoreContext& core,
                 RequestActions& actions);
  ~RequestMachine();
  RequestMachine(const RequestMachine&) = delete;
  RequestMachine& operator=(const RequestMachine&) = delete;

  // Inputs. Those of an attempt that is not open any more are ignored.
  void start(Instant now);
  /// The engine answered 200 and its head is complete.
  void on_head(Instant now, AttemptId attempt);
  /// The engine answered something else; the driver has the whole response.
  void on_status(Instant now, AttemptId attempt, int status, Duration retry_after);
  void on_event(Instant now, AttemptId attempt, const UpstreamEvent& event);
  /// Relayed: bytes of an answer came that are to go on as they are. With the first ones
  /// relay_begin() is called; from then on only this attempt can answer.
  void on_bytes(Instant now, AttemptId attempt);
  /// A non-streaming 200 arrived whole.
  void on_whole(Instant now, AttemptId attempt);
  /// The response ended in order.
  void on_end(Instant now, AttemptId attempt);
  void on_failed(Instant now, AttemptId attempt, Reason reason);
  /// `plan` is the number that came with the question; answers to older ones are ignored.
  void on_answer(Instant now, Question question, std::uint32_t plan, std::span<const TokenId> ids,
                 std::string_view text);
  /// `refused`: the engine cannot answer this (not: it is gone).
  void on_answer_failed(Instant now, Question question, std::uint32_t plan, bool refused);
  /// The fleet changed.
  void on_view(Instant now);
  /// Somebody may have made room for a waiting request.
  void on_room(Instant now);
  /// Back-pressure of a slow client: the attempt's bytes are not being read (or are again).
  void on_paused(Instant now, AttemptId attempt, bool paused);
  void on_client_gone(Instant now);
  /// stop: what was produced stays, with finish reason stop and usage. Where nothing was sent, or
  /// what was sent is no plain text (half a tool call), and with kill: the error `cancelled`.
  void on_cancel(Instant now, CancelMode mode);
  void tick(Instant now);
  /// Our own loop was late, for that long: silence up to now proves nothing, and no wait ran.
  void restart_clocks(Instant now, Duration late = {});

  /// When tick() is due; kNever in kDone.
  Instant deadline() const;
  State state() const { return state_; }
  bool is_done() const { return state_ == State::kDone; }
  bool has_sent() const { return sent_anything_; }
  /// queue, prefill, decode, resume (goes on elsewhere), done.
  std::string_view phase() const;
  /// It waits for a worker and nothing of it was sent: it stands in the admission queue.
  bool is_queued() const { return queued_; }
  /// The model that serves it: the client's own or a fallback.
  const std::string& model() const { return hop_ == 0 ? spec_.model : spec_.fallback[hop_ - 1]; }
  /// Events of our own make up the stream from now on (after a resume by ids).
  bool is_rebuilt() const { return rebuilt_; }
  /// The text that was sent; of a request that does not stream: kept.
  std::string_view sent_text() const { return sent_text_; }
  const Ledger& ledger() const { return ledger_; }
  /// What a resume carries, valid while open(kTokens) is being carried out.
  std::span<const TokenId> carried_ids() const;
  const std::vector<TokenId>& prompt_ids() const { return spec_.prompt_ids; }
  /// The engine's count; where it never told one, the number of known ids or an estimate.
  std::int64_t prompt_tokens() const;
  std::int64_t completion_tokens() const;
  const RequestSpec& spec() const { return spec_; }
  const RequestRecord& record() const { return record_; }
  /// The ids whose text is asked for, valid while ask(kText) is being carried out.
  std::span<const TokenId> text_ids() const;
  std::size_t memory_bytes() const;
  /// One line for logs, traces and the admin API.
  std::string describe() const;

 private:
  struct Attempt {
    AttemptId id = 0;
    std::size_t worker = 0;
    Mode mode = Mode::kFirst;
    bool with_ids = false;
    bool streams = true;  // upstream
    bool is_hedge = false;
    bool is_suspect = false;
    bool charged_hedge = false;
    bool paced = false;  // its prefill is in the worker's resume_prefill too
    bool paused = false;
    bool got_head = false;
    std::uint32_t deaths = 0;  // the worker's, when it began
    Instant started{};
    Instant last_event{};
    std::size_t tokens = 0;    // that it brought
    std::size_t base = 0;      // ledger size that it continues
    std::size_t own_text = 0;  // bytes of text that it brought behind that
    std::int64_t count = -1;   // the engine's own, of this attempt
    std::int64_t prefill = 0;  // still in the cells
    bool got_token = false;
    bool exact = true;
  };
  struct PastAttempt {
    std::size_t worker = 0;
    std::uint32_t deaths = 0;
    bool connection_lost = false;
    std::size_t tokens = 0;
    Instant failed_at{};
  };
  /// A resume or hedge being prepared.
  struct Plan {
    std::size_t worker = 0;
    bool is_hedge = false;
    bool exact = true;
    bool suspect = false;
    bool charged_hedge = false;
    std::int64_t prefill = 0;     // reserved in the worker's cells
    std::size_t tokens_then = 0;  // ledger size it was made for
    std::size_t carried = 0;      // ids that go along
    std::string pending;          // text that the ids read as beyond what was sent
    std::string swallow;          // or: text sent beyond what the ids read as
    bool text_known = false;
    int trims = 0;
  };

  void become(State state);

  // request_machine.cpp: the inputs
  void on_owner_event(Instant now, const UpstreamEvent& event);
  void on_hedge_event(Instant now, const UpstreamEvent& event);
  void hedge_wins(Instant now);
  bool note_counts(Attempt& attempt, const UpstreamEvent& event);
  void take_hedges_role();
  void take_token(Instant now, const UpstreamEvent& event);
  void first_token(Instant now);
  void forward_event(Instant now, const UpstreamEvent& event);
  void rebuild_event(Instant now, const UpstreamEvent& event);
  void after_finish(Instant now, const UpstreamEvent& event);
  void say(std::string_view text);
  void finish_with(Instant now, Finish finish, std::string_view stop_string);
  bool ends_untold() const;
  bool may_hide_end() const;
  bool end_is_told() const;
  void complete(Instant now);
  void fail(const ClientError& error);
  void release_all();
  void leave_queue();
  bool is_known_model() const;
  Instant hard_limit() const;
  Attempt* find(AttemptId id);

  // request_recovery.cpp: what happens when an attempt breaks
  void attempt_failed(Instant now, AttemptId id, Reason reason);
  void prefix_refused(Instant now, std::size_t index);
  bool may_repeat(Reason reason) const;
  void recover(Instant now, Reason reason);
  bool can_restart() const;
  bool can_tokens() const;
  bool can_text() const;
  bool needs_tokens() const;
  bool prefers_tokens() const;
  bool assembles(const WorkerStatus& status) const;
  void reopen(Instant now, std::size_t index);
  void ask_whole(Instant now);
  void try_place(Instant now);
  Instant overloaded_until(std::size_t index) const;
  bool verdict_pending(Instant now) const;
  bool is_excluded(std::size_t index) const;
  bool may_wait_for_identity() const;
  std::optional<std::size_t> pick(Instant now, bool tokens, bool hedge, bool suspect);
  std::optional<std::size_t> pick_along_chain(Instant now, bool suspect);
  void stand_in_queue(Instant now, bool was_admitted);
  Instant wait_limit() const;
  void give_up_waiting(Instant now);
  bool inherit_hedge(Instant now);
  void end_refused(AttemptId id, int status);
  void refuse(std::string_view why);
  int deaths_seen() const;
  bool died(const PastAttempt& past) const;
  bool is_poison() const;
  void end_as_poison();
  std::size_t tokens_written(Instant now, const Attempt& attempt) const;
  bool take_suspect_slot(std::size_t index);
  void open_plain(Instant now, std::size_t worker, bool is_hedge, bool suspect, bool charged_hedge);
  void adopt(const Attempt& attempt);
  void begin_attempt(Instant now, Attempt attempt, const OpenAttempt& open);
  void end_attempt(std::optional<Attempt>& slot, bool cancel);
  void release_prefill(Attempt& attempt);

  // request_text.cpp: going on from the text, where ids are not known
  void place_text(Instant now, bool suspect);
  std::optional<std::size_t> pick_text(Instant now, bool suspect, bool& any);
  void open_text(Instant now, std::size_t index, bool suspect);
  void activate_text();

  // request_plan.cpp: going on by ids, and hedging
  void begin_plan(Instant now, Plan plan);
  void drop_plan();
  void advance_plan(Instant now);
  void plan_broken(Instant now, std::string_view why);
  const LedgerGap* doubtful_gap() const;
  void rewind_plan(Instant now, std::size_t certain);
  bool swallow(std::string_view& text);
  void replan(Instant now);
  void take_text(Instant now, std::string_view text);
  void open_plan(Instant now);
  void activate();
  bool ends_here(std::size_t carried, Finish& finish) const;
  std::size_t without_end_id(std::size_t carried) const;
  bool is_end_id(TokenId id) const;
  bool ends_by_id(std::size_t carried) const;
  std::int64_t token_limit() const;
  bool drops_held_text(Finish finish) const;
  void start_hedge(Instant now);
  Instant hedge_at() const;
  bool has_hedge() const { return hedge_.has_value() || (plan_ && plan_->is_hedge); }
  void drop_hedge(std::uint32_t& outcome);
  Duration spread() const;
  void move_from_slow(Instant now);

  const WorkerStatus& worker(std::size_t index) const { return core_.view->workers[index]; }

  RequestSpec spec_;
  MigrationOptions options_;
  CoreContext& core_;
  RequestActions& actions_;
  State state_ = State::kNew;

  std::optional<Attempt> owner_;
  std::optional<Attempt> hedge_;
  std::optional<Plan> plan_;
  std::uint32_t plan_number_ = 0;
  std::optional<Plan> carry_;  // with what an open, not yet activated kTokens attempt goes on
  std::vector<PastAttempt> past_;
  std::vector<std::size_t> excluded_;
  struct Refusal {
    std::size_t worker = 0;
    Instant until{};
  };
  std::vector<Refusal> overloaded_;
  bool refused_in_a_row_ = false;
  AttemptId next_attempt_ = 1;

  Ledger ledger_;
  StopMatcher matcher_;
  std::string sent_text_;
  bool sent_anything_ = false;  // an event, so the head too
  bool sent_role_ = false;
  bool opaque_sent_ = false;  // something that ids and text do not describe (tool calls, …)
  bool rebuilt_ = false;
  bool own_prompt_ids_ = false;  // the client sent ids
  bool ids_off_ = false;         // the engine refused our fields
  bool assembly_off_ = false;    // an answer that its engine has to write whole
  bool tokens_off_ = false;
  bool text_off_ = false;
  bool text_refused_ = false;  // one engine did not take our prefix
  bool rewound_ = false;       // the ledger was cut back to where its ids are certain
  std::string swallow_;        // sent already, expected again from the owner
  std::optional<std::size_t> tokens_refused_by_;  // a worker that did not take our prefix
  bool usage_sent_ = false;
  Finish finish_ = Finish::kNone;
  std::int64_t choices_ended_ = 0;
  bool end_told_ = false;  // how many tokens there were at the finish reason
  std::int64_t prompt_tokens_ = -1;
  std::int64_t final_count_ = -1;
  std::uint64_t tokens_identity_ = 0;  // of the worker that wrote the ids
  std::uint64_t exact_identity_ = 0;
  int kind_ = 0;
  std::size_t origin_ = 0;

  int failures_ = 0;           // without progress
  bool owes_retry_ = false;    // the next placement is charged to the budget
  bool free_failover_ = true;  // the first one after a death
  Reason reason_ = Reason::kNone;
  Instant broke_at_{};  // last token before the break
  Instant arrived_{};
  Instant waiting_since_{};
  Instant not_before_{};
  Instant placed_at_{};  // when a worker was last looked for
  Instant next_comment_{};
  Instant last_token_{};
  Instant finished_at_{};
  int last_status_ = 0;
  AttemptId last_status_attempt_ = 0;
  Instant hedge_not_before_{};
  Instant slow_since_{};  // the owner's worker was seen to be slow; zero: it is not
  std::size_t hop_ = 0;   // 0: the client's model; n: the n-th fallback
  bool queued_ = false;
  bool migrating_ = false;
  bool hedge_role_ = false;  // the hedge's role chunk came and was kept back
  RequestRecord record_;
};

std::string_view to_string(RequestMachine::State state);

}  // namespace hf::core
