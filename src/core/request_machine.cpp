#include "core/request_machine.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "core/planted.hpp"

namespace hf::core {

RequestMachine::RequestMachine(RequestSpec spec, MigrationOptions options, CoreContext& core,
                               RequestActions& actions)
    : spec_(std::move(spec)),
      options_(options),
      core_(core),
      actions_(actions),
      matcher_(spec_.stop) {
  own_prompt_ids_ = !spec_.prompt_ids.empty();
}

RequestMachine::~RequestMachine() {
  release_all();
}

// Gives back what it holds in the workers' cells, without telling anybody.
void RequestMachine::release_all() {
  leave_queue();
  drop_plan();
  if (hedge_) end_attempt(hedge_, false);
  if (owner_) end_attempt(owner_, false);
}

void RequestMachine::start(Instant now) {
  HF_ASSERT(state_ == State::kNew);
  arrived_ = now;
  waiting_since_ = now;
  become(State::kWaiting);
  core_.retries->request_started(now);
  if (!is_known_model() && !core_.view->starting()) {
    fail(model_not_found(spec_.model));
    return;
  }
  try_place(now);
  if (state_ == State::kWaiting) stand_in_queue(now, false);
}

RequestMachine::Attempt* RequestMachine::find(AttemptId id) {
  if (owner_ && owner_->id == id) return &*owner_;
  if (hedge_ && hedge_->id == id) return &*hedge_;
  return nullptr;
}

void RequestMachine::on_head(Instant now, AttemptId id) {
  if (auto* attempt = find(id)) {
    attempt->got_head = true;
    worker(attempt->worker).cells->progress(now);
  }
}

void RequestMachine::on_event(Instant now, AttemptId id, const UpstreamEvent& event) {
  auto* attempt = find(id);
  if (attempt == nullptr) return;
  auto& cells = *worker(attempt->worker).cells;
  cells.progress(now);
  if (attempt->got_token && event.kind == EventKind::kTokens) {
    cells.itl.add(now, now - attempt->last_event);
  }
  attempt->last_event = now;
  if (hedge_ && hedge_->id == id) {
    on_hedge_event(now, event);
  } else {
    on_owner_event(now, event);
  }
  if (!spec_.stream && !is_done() && sent_text_.size() > options_.whole_bytes_max) {
    fail(client_error(ErrorKind::kAnswerTooLarge,
                      "The answer is larger than is kept of one that is not streamed; stream it."));
  }
}

// False: what the engine counts shows that it does not continue what we asked it to continue.
bool RequestMachine::note_counts(Attempt& attempt, const UpstreamEvent& event) {
  if (event.completion_tokens >= 0) attempt.count = event.completion_tokens;
  if (attempt.mode == Mode::kText) return true;  // its prompt is another one
  if (attempt.mode == Mode::kTokens) {
    if (event.prompt_tokens < 0 || attempt.got_token) return true;
    if (is_planted(Planted::kUsageOfResume)) prompt_tokens_ = event.prompt_tokens;
    return event.prompt_tokens == static_cast<std::int64_t>(spec_.prompt_ids.size() + attempt.base);
  }
  if (spec_.prompt_ids.empty() && !event.prompt_ids.empty()) {
    spec_.prompt_ids.assign(event.prompt_ids.begin(), event.prompt_ids.end());
  }
  if (event.prompt_tokens >= 0) {
    prompt_tokens_ = event.prompt_tokens;
    const auto known = static_cast<std::int64_t>(spec_.prompt_ids.size());
    if (known != 0 && known != prompt_tokens_) tokens_off_ = true;
  }
  return true;
}

void RequestMachine::on_owner_event(Instant now, const UpstreamEvent& event) {
  const auto id = owner_->id;
  if (event.kind == EventKind::kError) {
    if (event.client_error && !sent_anything_ && state_ == State::kRunning) {
      end_attempt(owner_, true);
      fail(client_error(ErrorKind::kEngineRefused, std::string(event.error_message)));
      return;
    }
    attempt_failed(now, id, Reason::kInBandError);
    return;
  }
  if (event.finish == Finish::kAbort || event.finish == Finish::kError) {
    attempt_failed(now, id, Reason::kAbort);
    return;
  }
  if (!note_counts(*owner_, event)) {
    // Our ids did not arrive as they were sent: nothing of this attempt may be shown.
    tokens_off_ = true;
    attempt_failed(now, id, Reason::kRefused);
    return;
  }
  if (state_ == State::kFinishing) {
    after_finish(now, event);
    return;
  }
  const bool opaque =
      event.kind == EventKind::kOther || (event.kind == EventKind::kTokens && !event.plain);
  if (opaque && owner_->mode == Mode::kText) {
    text_off_ = true;  // it does not go on with the text: it thinks, or calls a tool
    attempt_failed(now, id, Reason::kProtocol);
    return;
  }
  if (opaque && !spec_.stream && owner_->mode != Mode::kTokens) {
    worker(owner_->worker).cells->may_assemble.store(false, std::memory_order_relaxed);
    ask_whole(now);
    return;
  }
  switch (event.kind) {
    case EventKind::kDone:
      if (spec_.choices != 0 || choices_ended_ == 0)
        return attempt_failed(now, id, Reason::kEarlyEnd);
      end_attempt(owner_, false);  // only the engine knows how many ends there are
      return complete(now);
    case EventKind::kRole:
      if (rebuilt_ || sent_role_) return;
      sent_role_ = true;
      sent_anything_ = true;
      actions_.forward(id);
      return;
    case EventKind::kUsage:
      if (spec_.choices != 0 || choices_ended_ == 0) return;  // ours alone, counts are noted
      usage_sent_ = true;
      actions_.forward(id);
      return;
    case EventKind::kOther:
      if (rebuilt_) return;
      sent_anything_ = true;
      opaque_sent_ = true;
      actions_.forward(id);
      return;
    case EventKind::kTokens: take_token(now, event); return;
    case EventKind::kError: return;
  }
}

// After the finish reason only usage and [DONE] are to come.
void RequestMachine::after_finish(Instant now, const UpstreamEvent& event) {
  switch (event.kind) {
    case EventKind::kDone:
      if (!end_is_told()) {
        attempt_failed(now, owner_->id, Reason::kEarlyEnd);
        return;
      }
      end_attempt(owner_, false);
      complete(now);
      return;
    case EventKind::kUsage:
      if (owner_->count >= 0) {
        final_count_ = static_cast<std::int64_t>(owner_->base) + owner_->count;
        end_told_ = true;
      }
      if (ends_untold()) {
        ask_whole(now);
        return;
      }
      if (rebuilt_) return;  // complete() says it, over both parts
      usage_sent_ = true;
      actions_.forward(owner_->id);
      return;
    case EventKind::kOther:
    case EventKind::kRole:
    case EventKind::kTokens:
      if (!rebuilt_) actions_.forward(owner_->id);
      return;
    case EventKind::kError: return;
  }
}

void RequestMachine::take_token(Instant now, const UpstreamEvent& event) {
  const bool lost_a_hedge = has_hedge() && !is_planted(Planted::kStaleHedgeWins);
  if (lost_a_hedge) drop_hedge(record_.hedges_lost);
  Attempt& attempt = *owner_;
  const bool has_token = !event.ids.empty() || !event.text.empty();
  if (!attempt.got_token && (has_token || event.finish != Finish::kNone)) first_token(now);
  if (has_token) {
    last_token_ = now;
    attempt.tokens += std::max<std::size_t>(event.ids.size(), 1);
    failures_ = 0;
    refused_in_a_row_ = false;
    free_failover_ = true;
    if (attempt.is_suspect && attempt.tokens > options_.poison_tokens) {
      attempt.is_suspect = false;  // it lived: the next suspect may have the worker
      worker(attempt.worker).cells->suspects.store(0, std::memory_order_relaxed);
    }
  }
  if (attempt.with_ids) ledger_.add(event, attempt.base);
  // An engine that was not asked to count: one token an event is the best that is known.
  const auto own = static_cast<std::int64_t>(attempt.tokens);
  final_count_ =
      static_cast<std::int64_t>(attempt.base) + (attempt.count >= 0 ? attempt.count : own);
  finish_ = event.finish;
  if (finish_ != Finish::kNone) end_told_ = event.completion_tokens >= 0;
  if (ends_untold()) {
    ask_whole(now);
  } else if (attempt.mode == Mode::kTokens || attempt.mode == Mode::kText) {
    rebuild_event(now, event);
  } else {
    forward_event(now, event);
  }
  // The hedge has warmed the target: from here the stream is cut over.
  if (lost_a_hedge && slow_since_ != Instant{} && state_ == State::kRunning) move_from_slow(now);
}

void RequestMachine::first_token(Instant now) {
  Attempt& attempt = *owner_;
  attempt.got_token = true;
  auto& cells = *worker(attempt.worker).cells;
  const auto took = now - attempt.started;
  // The time to a whole answer says nothing of prefill.
  if (attempt.streams && attempt.prefill >= 64 && took.count() > 0) {
    const auto rate =
        static_cast<std::int64_t>(static_cast<double>(attempt.prefill) / seconds(took));
    const auto old = cells.prefill_rate.load(std::memory_order_relaxed);
    cells.prefill_rate.store(std::max<std::int64_t>(1, old + (rate - old) / 4),
                             std::memory_order_relaxed);
  }
  release_prefill(attempt);
  if (attempt.mode == Mode::kTokens) activate();
  if (attempt.mode == Mode::kText) activate_text();
  if (record_.first_token_at == Instant{}) record_.first_token_at = now;
  if (migrating_) {
    migrating_ = false;
    const auto mode = attempt.mode == Mode::kFirst ? Mode::kRestart : attempt.mode;
    record_.migrations.push_back({mode, reason_, true, attempt.exact, now - broke_at_});
    reason_ = Reason::kNone;
    if (!attempt.exact && attempt.mode == Mode::kTokens) actions_.comment("holdfast: approximate");
    if (attempt.mode == Mode::kText) actions_.comment("holdfast: text");
  }
}

void RequestMachine::forward_event(Instant now, const UpstreamEvent& event) {
  sent_text_ += event.text;
  if (!event.plain) opaque_sent_ = true;
  if (!spec_.stop.empty()) ledger_.set_text_in_sync(false);
  sent_anything_ = true;
  actions_.forward(owner_->id);
  if (event.finish == Finish::kNone) return;
  choices_ended_ += std::max(1, event.choices_ended);
  if (spec_.choices != 1) opaque_sent_ = true;  // one choice's end is not the answer's
  if (spec_.choices == 0 || choices_ended_ < spec_.choices) return;
  finished_at_ = now;
  become(State::kFinishing);
}

void RequestMachine::rebuild_event(Instant now, const UpstreamEvent& event) {
  auto text = event.text;
  owner_->own_text += text.size();
  if (!swallow_.empty()) {
    const bool ended = event.finish != Finish::kNone;
    if (!swallow(text) || (ended && !swallow_.empty())) {
      reason_ = Reason::kProtocol;
      refuse("the replacement wrote another answer than the one begun");
      return;
    }
    ledger_.set_text_in_sync(false);
  }
  // Short of min_tokens only the engine knows which text is old enough to stop at: it holds text
  // back.
  auto out = matcher_.push(text, std::cmp_greater_equal(owner_->base, spec_.min_tokens));
  say(out.text);
  if (out.stopped) {
    finish_with(now, Finish::kStop, out.stop);
    return;
  }
  if (!spec_.stop.empty()) ledger_.set_text_in_sync(false);
  if (event.finish == Finish::kNone) return;
  const bool by_string = event.finish == Finish::kStop && !event.at_end_token &&
                         (event.ids.empty() || !is_end_id(event.ids.back()));
  if (by_string && matcher_.holds()) {
    out = matcher_.push_stop(owner_->own_text, event.stop_string);
    if (out.stopped) {
      say(out.text);
      finish_with(now, Finish::kStop, out.stop);
      return;
    }
  }
  const auto held = matcher_.flush();
  if (!drops_held_text(event.finish)) say(held);
  finished_at_ = now;
  become(State::kFinishing);
  actions_.say_finish(event.finish, {});
}

void RequestMachine::say(std::string_view text) {
  if (text.empty()) return;
  sent_text_ += text;
  sent_anything_ = true;
  actions_.say(text);
}

void RequestMachine::finish_with(Instant now, Finish finish, std::string_view stop_string) {
  finish_ = finish;
  sent_anything_ = true;
  actions_.say_finish(finish, stop_string);
  complete(now);
}

void RequestMachine::complete(Instant /*now*/) {
  leave_queue();
  if (has_hedge()) drop_hedge(record_.hedges_dropped);
  drop_plan();
  if (owner_) end_attempt(owner_, true);
  become(State::kDone);
  if (spec_.include_usage && !usage_sent_) actions_.say_usage();
  if (!is_planted(Planted::kDoneMissing)) actions_.complete();
}

void RequestMachine::fail(const ClientError& error) {
  leave_queue();
  if (has_hedge()) drop_hedge(record_.hedges_dropped);
  drop_plan();
  if (owner_) end_attempt(owner_, true);
  if (migrating_) record_.migrations.push_back({Mode::kRestart, reason_, false, true, {}});
  become(State::kDone);
  actions_.fail(error);
}

// A hedge takes over with its first token, if nothing was sent since it started.
void RequestMachine::on_hedge_event(Instant now, const UpstreamEvent& event) {
  if (event.kind == EventKind::kRole) {
    hedge_role_ = true;
    // Of another vocabulary its counts say nothing of the owner's.
    if (worker(hedge_->worker).tokens_identity == tokens_identity_) note_counts(*hedge_, event);
    return;
  }
  const bool broken = event.kind == EventKind::kError || event.kind == EventKind::kDone ||
                      event.finish == Finish::kAbort || event.finish == Finish::kError;
  if (broken) {
    attempt_failed(now, hedge_->id, Reason::kInBandError);
    return;
  }
  const bool has_token = !event.ids.empty() || !event.text.empty() || event.finish != Finish::kNone;
  if (event.kind != EventKind::kTokens || !has_token) return;
  hedge_wins(now);
  take_hedges_role();
  on_owner_event(now, event);
}

void RequestMachine::hedge_wins(Instant now) {
  record_.hedges_won += 1;
  if (!migrating_) {
    migrating_ = true;
    reason_ = slow_since_ != Instant{} ? Reason::kSlow : Reason::kStall;
    broke_at_ = owner_ ? owner_->last_event : now;
  }
  if (owner_) {
    excluded_.push_back(owner_->worker);
    end_attempt(owner_, true);
  }
  owner_ = std::exchange(hedge_, std::nullopt);
  adopt(*owner_);
}

// Its role chunk was kept back while it only hedged.
void RequestMachine::take_hedges_role() {
  if (!std::exchange(hedge_role_, false) || sent_role_) return;
  sent_role_ = true;
  sent_anything_ = true;
  actions_.say_role();
}

void RequestMachine::on_bytes(Instant now, AttemptId id) {
  if (!owner_ || owner_->id != id) return;
  worker(owner_->worker).cells->progress(now);
  owner_->last_event = now;
  if (owner_->got_token) return;
  first_token(now);
  sent_anything_ = true;
  opaque_sent_ = true;  // nobody else could go on from here
  actions_.relay_begin(id);
}

void RequestMachine::on_whole(Instant now, AttemptId id) {
  if (find(id) == nullptr) return;
  if (hedge_ && hedge_->id == id) hedge_wins(now);
  worker(owner_->worker).cells->progress(now);
  first_token(now);
  end_attempt(owner_, false);
  if (has_hedge()) drop_hedge(record_.hedges_dropped);
  become(State::kDone);
  sent_anything_ = true;
  actions_.relay_whole(id);
}

void RequestMachine::on_end(Instant now, AttemptId id) {
  if (find(id) == nullptr) return;
  const bool finished = state_ == State::kFinishing && end_is_told();
  if (owner_ && owner_->id == id && (finished || (spec_.relayed && opaque_sent_))) {
    end_attempt(owner_, false);
    complete(now);
    return;
  }
  attempt_failed(now, id, Reason::kEarlyEnd);
}

void RequestMachine::on_failed(Instant now, AttemptId id, Reason reason) {
  attempt_failed(now, id, reason);
}

void RequestMachine::on_paused(Instant now, AttemptId id, bool paused) {
  auto* attempt = find(id);
  if (attempt == nullptr || attempt->paused == paused) return;
  if (is_planted(Planted::kPauseIgnored)) return;
  attempt->paused = paused;
  auto& cells = *worker(attempt->worker).cells;
  if (attempt->streams) cells.reading.fetch_add(paused ? -1 : 1, std::memory_order_relaxed);
  attempt->last_event = now;
  if (!paused) cells.progress(now);
}

void RequestMachine::on_client_gone(Instant /*now*/) {
  if (state_ == State::kDone) return;
  leave_queue();
  if (has_hedge()) drop_hedge(record_.hedges_dropped);
  drop_plan();
  if (owner_) end_attempt(owner_, true);
  become(State::kDone);
}

void RequestMachine::restart_clocks(Instant now, Duration late) {
  if (is_planted(Planted::kClockNotRestarted)) return;
  waiting_since_ = std::min(now, waiting_since_ + late);
  for (auto* slot : {&owner_, &hedge_}) {
    if (!*slot) continue;
    (*slot)->last_event = now;
    if (!(*slot)->got_token) (*slot)->started = now;
    worker((*slot)->worker).cells->progress(now);
  }
}

void RequestMachine::on_view(Instant now) {
  // Its worker was declared dead: what it might still write is not waited for.
  for (auto* slot : {&hedge_, &owner_}) {
    if (!*slot) continue;
    const auto& status = worker((*slot)->worker);
    const bool is_dead = status.state == WorkerState::kDead && status.deaths > (*slot)->deaths;
    if (is_dead && !is_planted(Planted::kDeadIgnored)) {
      attempt_failed(now, (*slot)->id, Reason::kDead);
    }
    if (is_done()) return;
  }
  const bool is_stale = plan_ && !takes_work(worker(plan_->worker).state);
  if (is_stale && !is_planted(Planted::kStalePlan)) replan(now);
  const bool is_slow = owner_ && worker(owner_->worker).state == WorkerState::kSlow;
  slow_since_ = !is_slow ? Instant{} : slow_since_ == Instant{} ? now : slow_since_;
  on_room(now);
}

void RequestMachine::on_room(Instant now) {
  if (state_ == State::kWaiting) try_place(now);
}

Instant RequestMachine::deadline() const {
  switch (state_) {
    case State::kNew:
    case State::kDone: return kNever;
    case State::kWaiting: {
      auto at = wait_limit();
      if (sent_anything_) at = std::min(at, next_comment_);
      // What has passed already and changed nothing is nothing to wake up for again.
      if (not_before_ > placed_at_) at = std::min(at, not_before_);
      if (!past_.empty()) {
        const auto verdict = past_.back().failed_at + options_.verdict_limit;
        if (verdict > placed_at_) at = std::min(at, verdict);
      }
      return at;
    }
    case State::kPreparing:
      return sent_anything_ ? next_comment_ : kNever;  // questions have limits
    case State::kFinishing: return finished_at_ + options_.tail_limit;
    case State::kRunning: break;
  }
  if (!owner_ || owner_->paused) return kNever;
  return std::min(hard_limit(), hedge_at());
}

// A worker that answers its probes may have a long queue; one that does not is given up sooner.
Instant RequestMachine::hard_limit() const {
  if (owner_->got_token) return owner_->last_event + options_.token_limit;
  const auto answered = std::max(owner_->started, worker(owner_->worker).alive_at);
  return std::min(owner_->started + options_.first_token_limit,
                  answered + options_.first_token_silent);
}

void RequestMachine::tick(Instant now) {
  if (is_done() || now < deadline()) return;
  if (state_ == State::kFinishing) {
    if (end_is_told()) {
      complete(now);
    } else {
      attempt_failed(now, owner_->id, Reason::kEarlyEnd);
    }
    return;
  }
  if (state_ == State::kRunning) {
    if (now >= hard_limit()) {
      attempt_failed(now, owner_->id, Reason::kStall);
    } else if (now >= hedge_at()) {
      start_hedge(now);
    }
    return;
  }
  if (sent_anything_ && now >= next_comment_) {
    next_comment_ = now + options_.comment_every;
    actions_.comment("waiting");
  }
  if (state_ != State::kWaiting) return;
  if (now >= wait_limit()) {
    give_up_waiting(now);
  } else {
    try_place(now);
  }
}

std::int64_t RequestMachine::prompt_tokens() const {
  if (prompt_tokens_ >= 0) return prompt_tokens_;
  return spec_.prompt_ids.empty() ? spec_.prompt_tokens_estimate
                                  : static_cast<std::int64_t>(spec_.prompt_ids.size());
}

std::int64_t RequestMachine::completion_tokens() const {
  return std::max(final_count_, static_cast<std::int64_t>(ledger_.size()));
}

std::span<const TokenId> RequestMachine::carried_ids() const {
  const auto& plan = plan_ ? plan_ : carry_;
  if (!plan) return {};
  const auto count = std::min(plan->carried, ledger_.size());
  if (is_planted(Planted::kIdDropped) && count > 0)
    return std::span(ledger_.ids()).first(count - 1);
  return std::span(ledger_.ids()).first(count);
}

}  // namespace hf::core
