// What happens when an attempt breaks: how the request goes on, where, and when it gives up.
#include <algorithm>
#include <ranges>
#include <utility>

#include "core/planted.hpp"
#include "core/request_machine.hpp"

namespace hf::core {
namespace {

// The stream was lost with its connection: perhaps the whole worker died of it.
bool lost_connection(Reason reason) {
  switch (reason) {
    case Reason::kReset:
    case Reason::kEarlyEnd:
    case Reason::kAbort:
    case Reason::kInBandError:
    case Reason::kDead: return true;
    default: return false;
  }
}

constexpr int kFirstRefusal = 400;

}  // namespace

void RequestMachine::begin_attempt(Instant now, Attempt attempt, const OpenAttempt& open) {
  if (!attempt.is_hedge) {
    slow_since_ = {};
    leave_queue();
    if (core_.admission != nullptr) core_.admission->placed(now);
  }
  auto& cells = *worker(attempt.worker).cells;
  attempt.id = open.attempt;
  attempt.started = now;
  attempt.last_event = now;
  attempt.deaths = worker(attempt.worker).deaths;
  cells.running.fetch_add(1, std::memory_order_relaxed);
  // A whole answer is silent until its end: its silence says nothing of the worker.
  if (attempt.streams && cells.reading.fetch_add(1, std::memory_order_relaxed) == 0)
    cells.progress(now);
  record_.attempts += 1;
  record_.workers.push_back(attempt.worker);
  (attempt.is_hedge ? hedge_ : owner_) = attempt;
  if (!attempt.is_hedge) become(State::kRunning);
  actions_.open(open);
}

void RequestMachine::release_prefill(Attempt& attempt) {
  if (attempt.prefill == 0 || is_planted(Planted::kPrefillNotReturned)) return;
  auto& cells = *worker(attempt.worker).cells;
  cells.prefill_owed.fetch_sub(attempt.prefill, std::memory_order_relaxed);
  if (attempt.paced) cells.resume_prefill.fetch_sub(attempt.prefill, std::memory_order_relaxed);
  attempt.prefill = 0;
}

void RequestMachine::end_attempt(std::optional<Attempt>& slot, bool cancel) {
  Attempt attempt = *std::exchange(slot, std::nullopt);
  auto& cells = *worker(attempt.worker).cells;
  if (!is_planted(Planted::kRunningNotReturned))
    cells.running.fetch_sub(1, std::memory_order_relaxed);
  if (attempt.streams && !attempt.paused) cells.reading.fetch_sub(1, std::memory_order_relaxed);
  if (attempt.is_suspect) cells.suspects.store(0, std::memory_order_relaxed);
  if (attempt.charged_hedge && !is_planted(Planted::kHedgeNotReturned)) core_.hedges->release();
  release_prefill(attempt);
  if (cancel) actions_.cancel(attempt.id);
}

void RequestMachine::attempt_failed(Instant now, AttemptId id, Reason reason) {
  const auto* attempt = find(id);
  if (attempt == nullptr) return;
  past_.push_back({attempt->worker, attempt->deaths, lost_connection(reason),
                   tokens_written(now, *attempt), now});
  if (reason != Reason::kDead) actions_.report(attempt->worker, reason);
  // A worker that refuses the connection costs no delay, unless it was tried for want of another.
  const bool refused_first = reason == Reason::kConnect && !is_excluded(attempt->worker);
  if (!is_planted(Planted::kExclusionForgotten)) excluded_.push_back(attempt->worker);
  if (hedge_ && hedge_->id == id) {
    end_attempt(hedge_, true);
    record_.hedges_failed += 1;
    hedge_not_before_ = now + std::chrono::seconds(1);
    return;
  }
  const auto broke_at = owner_->got_token ? owner_->last_event : owner_->started;
  end_attempt(owner_, true);
  const bool is_whole = state_ == State::kFinishing && end_is_told();
  if (is_whole && !is_planted(Planted::kFinishedResumed)) {
    complete(now);
    return;
  }
  if (!migrating_) {
    migrating_ = true;
    broke_at_ = broke_at;
  }
  if (reason_ == Reason::kNone) reason_ = reason;
  if (inherit_hedge(now)) return;
  if (refused_first) free_failover_ = true;
  recover(now, reason);
}

// What was started for the loss of the owner takes its place; false: there is nothing.
bool RequestMachine::inherit_hedge(Instant now) {
  if (!has_hedge()) return false;
  record_.hedges_inherited += 1;
  if (hedge_) {
    // From now on it owns the stream, from its first token.
    owner_ = std::exchange(hedge_, std::nullopt);
    owner_->is_hedge = false;
    adopt(*owner_);
    take_hedges_role();
    return true;
  }
  plan_->is_hedge = false;  // likewise, still being prepared
  become(State::kPreparing);
  waiting_since_ = now;
  next_comment_ = now + options_.comment_every;
  return true;
}

bool RequestMachine::is_excluded(std::size_t index) const {
  return std::ranges::find(excluded_, index) != excluded_.end();
}

// An attempt on the client's own endpoint becomes the owner: the ledger is its own from now on.
void RequestMachine::adopt(const Attempt& attempt) {
  slow_since_ = {};
  if (attempt.mode == Mode::kTokens || attempt.mode == Mode::kText) return;
  rebuilt_ = false;  // nothing that it would have to fit to was sent
  if (!spec_.stream && sent_anything_) {
    sent_text_.clear();
    swallow_.clear();
    sent_role_ = usage_sent_ = rewound_ = false;
    actions_.discard();
  }
  const auto& status = worker(attempt.worker);
  ledger_.clear();
  if (!attempt.with_ids) ledger_.break_it();
  if (status.tokens_identity != tokens_identity_ && !own_prompt_ids_) {
    spec_.prompt_ids.clear();  // another vocabulary has other ids
    prompt_tokens_ = -1;
  }
  tokens_identity_ = status.tokens_identity;
  exact_identity_ = status.exact_for(model());
  kind_ = status.kind;
  origin_ = attempt.worker;
  final_count_ = -1;
}

// The client has seen a part of the answer. Of a whole answer it sees nothing before its end.
bool RequestMachine::needs_tokens() const {
  return (spec_.stream || spec_.relayed) && (!sent_text_.empty() || opaque_sent_);
}

// Nothing visible was sent, but ids are known: going on by ids wastes nothing.
bool RequestMachine::prefers_tokens() const {
  return needs_tokens() || (ledger_.size() > 0 && can_tokens());
}

// A whole answer is generated as a stream where its body can be made from it.
bool RequestMachine::assembles(const WorkerStatus& status) const {
  const auto kind = static_cast<std::size_t>(status.kind);
  return !assembly_off_ && !ids_off_ && options_.tokens && kind < spec_.tokens_allowed.size() &&
         spec_.tokens_allowed[kind] &&
         status.whole_known[static_cast<std::size_t>(spec_.endpoint)] &&
         status.cells->may_assemble.load(std::memory_order_relaxed);
}

bool RequestMachine::can_restart() const {
  return options_.restart && !needs_tokens();
}

bool RequestMachine::can_tokens() const {
  return options_.tokens && !tokens_off_ && !opaque_sent_ && ledger_.intact() &&
         (ledger_.size() > 0 || rewound_) && tokens_identity_ != 0;
}

int RequestMachine::deaths_seen() const {
  return static_cast<int>(
      std::ranges::count_if(past_, [this](const PastAttempt& past) { return died(past); }));
}

bool RequestMachine::died(const PastAttempt& past) const {
  if (is_planted(Planted::kPoisonForgotten)) return false;
  return past.connection_lost && worker(past.worker).deaths > past.deaths;
}

// A poison kills at its place, so whoever is handed the same prefix dies at once. An attempt that
// wrote on for a while has shown that its prefix kills nobody: deaths before it accuse no more. Its
// own may be the first of the next row: the place was reached just then.
bool RequestMachine::is_poison() const {
  if (past_.empty() || !died(past_.back()) || past_.back().tokens > options_.poison_tokens) {
    return false;
  }
  int row = 0;
  for (const auto& past : std::views::reverse(past_)) {
    if (died(past)) ++row;
    if (past.tokens > options_.poison_tokens) break;
  }
  return row >= options_.poison_deaths;
}

void RequestMachine::end_as_poison() {
  fail(client_error(ErrorKind::kPoisonSuspected,
                    "Several workers died while they ran this request; it is not tried again."));
}

// How many tokens an attempt brought. Of one that is written whole nobody sees them: as many as
// the worker can have written at its pace, once all the prefill that was placed there was done.
std::size_t RequestMachine::tokens_written(Instant now, const Attempt& attempt) const {
  if (attempt.streams) return attempt.tokens;
  const auto& cells = *worker(attempt.worker).cells;
  const auto gap = cells.itl.quantile(0.5);
  const auto rate = cells.prefill_rate.load(std::memory_order_relaxed);
  if (gap <= Duration{} || rate <= 0) return 0;
  const auto owed = std::max(cells.prefill_owed.load(std::memory_order_relaxed), attempt.prefill);
  const auto writing = now - attempt.started - Duration(std::chrono::seconds(owed)) / rate;
  return writing > Duration{} ? static_cast<std::size_t>(writing / gap) : 0;
}

// Another core may have taken it since the pick: then this one waits for the next look.
bool RequestMachine::take_suspect_slot(std::size_t index) {
  std::int32_t nobody = 0;
  return worker(index).cells->suspects.compare_exchange_strong(nobody, 1);
}

// A request that was already running at a death waits to know whether it was there at another.
bool RequestMachine::verdict_pending(Instant now) const {
  if (past_.empty() || !past_.back().connection_lost) return false;
  const auto& last = past_.back();
  if (died(last) || worker(last.worker).alive_at > last.failed_at) return false;
  if (deaths_seen() == 0) return false;
  return now < last.failed_at + options_.verdict_limit;
}

// What was perhaps begun is not sent again where it must not be done twice.
bool RequestMachine::may_repeat(Reason reason) const {
  if (!spec_.relayed || spec_.repeatable) return true;
  return reason == Reason::kConnect || reason == Reason::kOverloaded;
}

void RequestMachine::recover(Instant now, Reason reason) {
  if (!may_repeat(reason)) {
    refuse("this call may have begun and must not be made twice");
    return;
  }
  if (!can_restart() && !can_tokens() && !can_text()) {
    const bool off = !options_.restart && !options_.tokens && !options_.text;
    refuse(off ? "migration is turned off" : "this stream cannot be continued elsewhere");
    return;
  }
  const bool typed = reason == Reason::kOverloaded || reason == Reason::kRefused;
  const bool free = !typed && std::exchange(free_failover_, false);
  if (!typed && !(free && reason == Reason::kConnect)) ++failures_;
  become(State::kWaiting);
  // Refusals cost nothing, so only time bounds them: from the first one in a row.
  if (!typed || !refused_in_a_row_) waiting_since_ = now;
  refused_in_a_row_ = typed;
  next_comment_ = now + options_.comment_every;
  not_before_ = now;
  if (failures_ > options_.attempts_without_progress) {
    if (reason == Reason::kProtocol) {
      refuse("no worker gave an answer that can be understood");
    } else if (deaths_seen() >= options_.poison_deaths) {
      end_as_poison();  // wherever it kills
    } else {
      give_up_waiting(now);
    }
    return;
  }
  if (!typed && !free) {
    // Continuations are paced by prefill, new requests by a budget.
    owes_retry_ = !prefers_tokens();
    not_before_ = now + backoff(failures_ - 1, *core_.random);
  }
  try_place(now);
  if (state_ == State::kWaiting) stand_in_queue(now, true);
}

std::optional<std::size_t> RequestMachine::pick(Instant now, bool tokens, bool hedge,
                                                bool suspect) {
  PickRequest request;
  request.model = model();
  request.session = spec_.session;
  request.now = now;
  const auto known = static_cast<std::int64_t>(spec_.prompt_ids.size());
  request.length_min = std::max({known, prompt_tokens_, spec_.prompt_tokens_min});
  request.exclude = excluded_;
  request.continuation = migrating_ || hedge;
  request.suspect = suspect;
  request.prefill_tokens = std::max(prompt_tokens_, spec_.prompt_tokens_estimate);
  if (tokens) {
    request.prefill_tokens += static_cast<std::int64_t>(ledger_.size());
    request.tokens_identity = tokens_identity_;
    request.exact_identity = exact_identity_;
    request.strict_identity = options_.strict_identity;
  }
  std::size_t owner_worker = 0;
  if (hedge && owner_) {
    owner_worker = owner_->worker;
    request.never = std::span(&owner_worker, 1);
  }
  return core_.router->pick(*core_.view, request);
}

// The client's model, or the first fallback with a worker that did not fail this request. Only
// while nothing was sent: an answer has one author.
std::optional<std::size_t> RequestMachine::pick_along_chain(Instant now, bool suspect) {
  std::optional<std::size_t> last_resort;
  std::size_t its_hop = 0;
  for (hop_ = 0; hop_ <= spec_.fallback.size(); ++hop_) {
    const auto chosen = pick(now, false, false, suspect);
    if (chosen && !is_excluded(*chosen)) return chosen;
    if (chosen && !last_resort) {
      last_resort = chosen;
      its_hop = hop_;
    }
  }
  hop_ = its_hop;
  return last_resort;
}

// When a worker that had too much to do wants to be asked again.
Instant RequestMachine::overloaded_until(std::size_t index) const {
  Instant until{};
  if (is_planted(Planted::kRetryAfterIgnored)) return until;
  for (const auto& refusal : overloaded_) {
    if (refusal.worker == index) until = std::max(until, refusal.until);
  }
  return until;
}

void RequestMachine::try_place(Instant now) {
  placed_at_ = now;
  if (now < not_before_ || verdict_pending(now)) return;
  if (is_planted(Planted::kRetryNotCharged)) owes_retry_ = false;
  if (owes_retry_ && !core_.retries->take(now)) {
    core_.retries_refused += 1;
    not_before_ = now + backoff(failures_ + 1, *core_.random);  // others are before it
    return;
  }
  owes_retry_ = false;
  if (is_poison()) {
    end_as_poison();
    return;
  }
  const bool tokens = prefers_tokens();
  const bool suspect = deaths_seen() >= 2;
  if (needs_tokens() && !can_tokens() && can_text()) {
    place_text(now, suspect);
    return;
  }
  const bool may_hop = !tokens && !sent_anything_ && !spec_.fallback.empty();
  const auto chosen = may_hop ? pick_along_chain(now, suspect) : pick(now, tokens, false, suspect);
  if (tokens && can_restart() && (!chosen || is_excluded(*chosen))) {
    const auto plain = pick(now, false, false, suspect);
    const bool is_free = plain && overloaded_until(*plain) <= now;
    if (is_free && (!chosen || !is_excluded(*plain))) {
      if (suspect && !take_suspect_slot(*plain)) return;
      open_plain(now, *plain, false, suspect, false);
      return;
    }
  }
  if (!chosen) {
    if (!tokens || can_restart() || may_wait_for_identity()) return;
    if (can_text()) {
      place_text(now, suspect);
    } else {
      refuse("no worker with the same token ids is left");
    }
    return;
  }
  if (const auto until = overloaded_until(*chosen); until > now) {
    not_before_ = until;
    return;
  }
  if (suspect && !take_suspect_slot(*chosen)) return;
  if (!tokens) {
    open_plain(now, *chosen, false, suspect, false);
    return;
  }
  Plan plan;
  plan.worker = *chosen;
  plan.suspect = suspect;
  begin_plan(now, std::move(plan));
}

// Waiting makes sense if some worker with these ids may be used again, or if all are down.
bool RequestMachine::may_wait_for_identity() const {
  bool others_ready = false;
  for (const auto& status : core_.view->workers) {
    if (status.model(model()) == nullptr || status.state == WorkerState::kRemoved) continue;
    const bool same = status.tokens_identity == tokens_identity_ &&
                      (!options_.strict_identity || status.exact_for(model()) == exact_identity_);
    if (same && status.state != WorkerState::kDead) return true;
    if (!same && takes_work(status.state)) others_ready = true;
  }
  return !others_ready;
}

void RequestMachine::open_plain(Instant now, std::size_t index, bool is_hedge, bool suspect,
                                bool charged_hedge) {
  const auto& status = worker(index);
  const auto kind = static_cast<std::size_t>(status.kind);
  Attempt attempt;
  attempt.worker = index;
  attempt.mode = record_.attempts == 0 ? Mode::kFirst : Mode::kRestart;
  attempt.is_hedge = is_hedge;
  attempt.is_suspect = suspect;
  attempt.charged_hedge = charged_hedge;
  attempt.streams = spec_.stream || assembles(status);
  attempt.with_ids = attempt.streams && options_.tokens && !ids_off_ &&
                     kind < spec_.tokens_allowed.size() && spec_.tokens_allowed[kind];
  attempt.prefill = std::max(prompt_tokens_, spec_.prompt_tokens_estimate);
  attempt.paced = migrating_;
  auto& cells = *status.cells;
  cells.prefill_owed.fetch_add(attempt.prefill, std::memory_order_relaxed);
  if (attempt.paced) cells.resume_prefill.fetch_add(attempt.prefill, std::memory_order_relaxed);
  if (!is_hedge) adopt(attempt);
  OpenAttempt open;
  open.attempt = next_attempt_++;
  open.model = model();
  open.worker = index;
  open.mode = attempt.mode;
  open.with_ids = attempt.with_ids;
  open.stream = attempt.streams;
  begin_attempt(now, attempt, open);
}

// The same worker is asked again in another way.
void RequestMachine::reopen(Instant now, std::size_t index) {
  const bool failed_before = is_excluded(index) && !ids_off_;
  if (worker(index).state == WorkerState::kReady && !failed_before) {
    open_plain(now, index, false, false, false);
    return;
  }
  if (inherit_hedge(now)) return;
  become(State::kWaiting);
  waiting_since_ = now;
  try_place(now);
  if (state_ == State::kWaiting) stand_in_queue(now, true);
}

// The stream has, or hides, what its engine's whole body would show in a way that we don't know:
// the engine has to write it itself.
void RequestMachine::ask_whole(Instant now) {
  const auto index = owner_->worker;
  assembly_off_ = true;
  record_.wasted_tokens += owner_->tokens;
  if (has_hedge()) drop_hedge(record_.hedges_dropped);
  end_attempt(owner_, true);
  ledger_.break_it();
  reopen(now, index);
}

void RequestMachine::on_status(Instant now, AttemptId id, int status, Duration retry_after) {
  auto* attempt = find(id);
  if (attempt == nullptr) return;
  if (status < kFirstRefusal) {
    attempt_failed(now, id, Reason::kProtocol);  // a redirect, a part, nothing: no answer
    return;
  }
  const auto index = attempt->worker;
  const bool overloaded = status == 429 || status == 503;
  if (overloaded) {
    // Obeyed only where nobody else can take it.
    const auto wait = retry_after.count() > 0 ? retry_after : Duration(std::chrono::seconds(1));
    overloaded_.push_back({index, now + std::min(wait, options_.retry_after_max)});
  }
  if (hedge_ && hedge_->id == id) {
    attempt_failed(now, id,
                   overloaded      ? Reason::kOverloaded
                   : status >= 500 ? Reason::kHttp5xx
                                   : Reason::kRefused);
    return;
  }
  last_status_ = status;
  last_status_attempt_ = id;
  const bool with_ids = attempt->with_ids;
  const bool by_tokens = attempt->mode == Mode::kTokens;
  if (overloaded) {
    attempt_failed(now, id, Reason::kOverloaded);
    return;
  }
  if (status >= 500 || status == 408) {
    attempt_failed(now, id, Reason::kHttp5xx);
    return;
  }
  if (attempt->mode == Mode::kText) {
    text_off_ = std::exchange(text_refused_, true);
    attempt_failed(now, id, Reason::kRefused);
    return;
  }
  if (by_tokens) {
    prefix_refused(now, index);
    attempt_failed(now, id, Reason::kRefused);
    return;
  }
  if (with_ids && status >= kFirstRefusal && status != 401 && status != 403 && status != 404) {
    ids_off_ = true;  // perhaps our fields: the client's own bytes decide
    end_attempt(owner_, false);
    reopen(now, index);
    return;
  }
  excluded_.push_back(index);
  const bool elsewhere = status == 401 || status == 403 || status == 404;
  const auto other = elsewhere ? pick(now, false, false, false) : std::nullopt;
  end_attempt(owner_, false);
  if (elsewhere && inherit_hedge(now)) return;
  if (other && !is_excluded(*other)) {
    open_plain(now, *other, false, false, false);
    return;
  }
  end_refused(id, status);
}

// The engine says that the request itself is wrong: that is the answer.
void RequestMachine::end_refused(AttemptId id, int status) {
  if (spec_.stream && sent_anything_) {
    // The head of the stream is out (a role chunk of the attempt before): no other can follow.
    fail({.status = status,
          .type = "invalid_request_error",
          .code = "engine_refused",
          .message = "The worker that was to take over refused this request with status " +
                     std::to_string(status) + ".",
          .should_retry = false});
    return;
  }
  leave_queue();
  if (has_hedge()) drop_hedge(record_.hedges_dropped);
  become(State::kDone);
  sent_anything_ = true;
  actions_.relay_whole(id);
}

// Our failure, not the client's. What two workers refuse, or the only one with these ids twice, is
// settled. Else one that is away may take it: the one that refused is not asked again at once.
void RequestMachine::prefix_refused(Instant now, std::size_t index) {
  const bool has_other = std::ranges::any_of(core_.view->workers, [&](const WorkerStatus& other) {
    return other.index != index && other.state != WorkerState::kRemoved &&
           other.tokens_identity == tokens_identity_ && other.model(model()) != nullptr;
  });
  const auto before = std::exchange(tokens_refused_by_, index);
  if (before && (*before != index || !has_other)) tokens_off_ = true;
  if (has_other) overloaded_.push_back({index, now + std::chrono::seconds(1)});
}

Instant RequestMachine::wait_limit() const {
  if (is_planted(Planted::kWaitsForEver)) return kNever;
  return waiting_since_ + (sent_anything_ ? options_.resume_hold : options_.admission_hold);
}

void RequestMachine::give_up_waiting(Instant now) {
  const bool head_sent = spec_.stream && sent_anything_;
  if (last_status_ >= 500 && last_status_ != 503 && !head_sent) {
    leave_queue();
    become(State::kDone);
    sent_anything_ = true;
    actions_.relay_whole(last_status_attempt_);
    return;
  }
  fail(client_error(ErrorKind::kNoWorker,
                    sent_anything_
                        ? "The worker of this stream was lost and none could take it over."
                        : "No worker for model `" + spec_.model + "` is available.",
                    core_.admission != nullptr ? core_.admission->retry_after(now)
                                               : Duration(std::chrono::seconds(2))));
}

void RequestMachine::refuse(std::string_view why) {
  fail(client_error(ErrorKind::kUpstreamFailed, "The worker of this request failed (" +
                                                    std::string(to_string(reason_)) + ") and " +
                                                    std::string(why) + "."));
}

}  // namespace hf::core
