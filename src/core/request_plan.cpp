// Going on by ids on another worker, and hedging a silent one: what is asked first, what is
// carried.
#include <algorithm>
#include <utility>

#include "core/planted.hpp"
#include "core/request_machine.hpp"

namespace hf::core {
namespace {
constexpr std::string_view kReplacementChar = "\xEF\xBF\xBD";  // U+FFFD: half a character
constexpr int kTrimsMax = 8;  // a character has four bytes; twice that is surely not half a one

// Perhaps with a space before it, as tokenizers cut.
bool is_one_character(std::string_view text) {
  if (text.size() > 1 && text.starts_with(' ')) text.remove_prefix(1);
  return std::ranges::count_if(
             text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }) == 1;
}
}  // namespace

void RequestMachine::begin_plan(Instant now, Plan plan) {
  auto& cells = *worker(plan.worker).cells;
  if (!plan.is_hedge) ledger_.drop_untold_tail();
  plan.tokens_then = ledger_.size();
  plan.carried = ledger_.size();
  if (is_planted(Planted::kTokenTwice) && plan.carried > 0) plan.carried -= 1;
  plan.exact = exact_identity_ != 0 && worker(plan.worker).exact_for(model()) == exact_identity_;
  plan.text_known = ledger_.text_in_sync() && ledger_.gaps().empty();
  plan.prefill = std::max(prompt_tokens_, spec_.prompt_tokens_estimate) +
                 static_cast<std::int64_t>(plan.carried);
  cells.prefill_owed.fetch_add(plan.prefill, std::memory_order_relaxed);
  cells.resume_prefill.fetch_add(plan.prefill, std::memory_order_relaxed);
  if (!plan.is_hedge) {
    leave_queue();
    become(State::kPreparing);
  }
  plan_ = std::move(plan);
  advance_plan(now);
}

void RequestMachine::drop_plan() {
  if (!plan_) return;
  auto& cells = *worker(plan_->worker).cells;
  cells.prefill_owed.fetch_sub(plan_->prefill, std::memory_order_relaxed);
  cells.resume_prefill.fetch_sub(plan_->prefill, std::memory_order_relaxed);
  if (plan_->suspect) cells.suspects.store(0, std::memory_order_relaxed);
  if (plan_->charged_hedge) core_.hedges->release();
  plan_.reset();
  ++plan_number_;
}

// One question after the other; each answer comes back here.
void RequestMachine::advance_plan(Instant now) {
  if (spec_.prompt_ids.empty()) {
    actions_.ask(Question::kPromptIds, plan_->worker, plan_number_);
  } else if (const auto* gap = doubtful_gap()) {
    rewind_plan(now, gap->first);
  } else if (!ledger_.gaps().empty()) {
    actions_.ask(Question::kFillGaps, plan_->worker, plan_number_);
  } else if (!plan_->text_known) {
    actions_.ask(Question::kText, plan_->worker, plan_number_);
  } else {
    open_plan(now);
  }
}

std::span<const TokenId> RequestMachine::text_ids() const {
  return std::span(ledger_.ids()).first(without_end_id(plan_->carried));
}

void RequestMachine::on_answer(Instant now, Question question, std::uint32_t plan_number,
                               std::span<const TokenId> ids, std::string_view text) {
  if (!plan_ || plan_number != plan_number_) return;
  switch (question) {
    case Question::kPromptIds:
      if (ids.empty() || (prompt_tokens_ >= 0 && std::cmp_not_equal(ids.size(), prompt_tokens_))) {
        plan_broken(now, "its prompt could not be tokenized again");
        return;
      }
      spec_.prompt_ids.assign(ids.begin(), ids.end());
      break;
    case Question::kFillGaps:
      if (!ledger_.fill(std::vector<TokenId>(ids.begin(), ids.end()))) {
        rewind_plan(now, ledger_.gaps().front().first);
        return;
      }
      if (ledger_.text_in_sync()) plan_->text_known = true;
      break;
    case Question::kText: take_text(now, text); return;
  }
  advance_plan(now);
}

void RequestMachine::take_text(Instant now, std::string_view text) {
  Finish finish{};
  const bool half = text.ends_with(kReplacementChar) && !ends_here(plan_->carried, finish);
  if (half && plan_->carried > 0 && plan_->trims < kTrimsMax && text.size() > sent_text_.size()) {
    // Ids that complete no character are generated again by the replacement.
    plan_->carried -= 1;
    plan_->trims += 1;
    if (plan_->carried == 0) {
      plan_->text_known = true;
      advance_plan(now);
      return;
    }
    actions_.ask(Question::kText, plan_->worker, plan_number_);
    return;
  }
  const bool behind = spec_.greedy && plan_->exact && sent_text_.starts_with(text);
  if (text.starts_with(sent_text_)) {
    plan_->pending = std::string(text.substr(sent_text_.size()));
  } else if (behind) {
    plan_->swallow = sent_text_.substr(text.size());
  } else {
    plan_broken(now, "the text sent is not what its token ids read as");
    return;
  }
  plan_->text_known = true;
  advance_plan(now);
}

// llama.cpp's chat tells no id of a token whose text it holds back for a stop string. Words can be
// cut in several ways with the same count, so a tokenizer's way proves nothing where an exact
// answer can be had by writing it again. One character's ids are its own.
const LedgerGap* RequestMachine::doubtful_gap() const {
  const bool may_hold_words = spec_.endpoint == Endpoint::kChat && !spec_.stop.empty();
  if (!may_hold_words || !spec_.greedy || !plan_->exact) return nullptr;
  const auto it = std::ranges::find_if(
      ledger_.gaps(), [](const LedgerGap& gap) { return !is_one_character(gap.text); });
  return it == ledger_.gaps().end() ? nullptr : &*it;
}

// Ids that cannot be found: a greedy answer goes on from the last place where they are certain.
// What was sent beyond it must come again, letter by letter, and is not sent twice.
void RequestMachine::rewind_plan(Instant now, std::size_t certain) {
  if (plan_->is_hedge) {
    drop_hedge(record_.hedges_failed);  // the owner still counts on its ledger
    return;
  }
  if (!spec_.greedy || !plan_->exact) {
    plan_broken(now, "token ids are missing that the engine never told");
    return;
  }
  ledger_.truncate(certain);
  ledger_.set_text_in_sync(false);  // also for the plan after this one
  rewound_ = true;
  plan_->tokens_then = ledger_.size();
  plan_->carried = ledger_.size();
  plan_->text_known = false;
  if (plan_->carried == 0) {
    take_text(now, {});
  } else {
    advance_plan(now);
  }
}

// Takes from `text` what the client has already. False: it is not what the client has.
bool RequestMachine::swallow(std::string_view& text) {
  const auto size = std::min(text.size(), swallow_.size());
  if (text.substr(0, size) != std::string_view(swallow_).substr(0, size)) return false;
  swallow_.erase(0, size);
  text.remove_prefix(size);
  return true;
}

void RequestMachine::on_answer_failed(Instant now, Question question, std::uint32_t plan_number,
                                      bool refused) {
  if (!plan_ || plan_number != plan_number_) return;
  if (refused && question == Question::kFillGaps) {
    rewind_plan(now, ledger_.gaps().front().first);
    return;
  }
  if (refused) {
    plan_broken(now, "the replacement could not be asked for its token ids");
    return;
  }
  const bool is_hedge = plan_->is_hedge;
  const auto index = plan_->worker;
  past_.push_back({index, worker(index).deaths, false, 0, now});
  actions_.report(index, Reason::kReset);
  excluded_.push_back(index);
  if (is_hedge) {
    drop_hedge(record_.hedges_failed);
    hedge_not_before_ = now + std::chrono::seconds(1);
  } else {
    drop_plan();
    recover(now, Reason::kConnect);
  }
}

void RequestMachine::plan_broken(Instant now, std::string_view why) {
  const bool is_hedge = plan_->is_hedge;
  tokens_off_ = true;
  if (is_hedge) {
    drop_hedge(record_.hedges_failed);
    return;
  }
  drop_plan();
  if (!can_restart() && !can_text()) {
    refuse(why);
    return;
  }
  if (can_restart()) ledger_.clear();  // nothing was shown: the request starts anew
  become(State::kWaiting);
  waiting_since_ = now;
  try_place(now);
  if (state_ == State::kWaiting) stand_in_queue(now, true);
}

// Its worker left the ready ones while it was being asked: no new work goes there.
void RequestMachine::replan(Instant now) {
  if (plan_->is_hedge) {
    drop_hedge(record_.hedges_failed);
    hedge_not_before_ = now + std::chrono::seconds(1);
    return;
  }
  drop_plan();
  become(State::kWaiting);
  try_place(now);
  if (state_ == State::kWaiting) stand_in_queue(now, true);
}

bool RequestMachine::is_end_id(TokenId id) const {
  if (std::ranges::find(spec_.stop_token_ids, id) != spec_.stop_token_ids.end()) return true;
  if (spec_.ignore_eos) return false;
  const auto& eos = worker(origin_).eos_ids;
  return std::ranges::find(eos, id) != eos.end();
}

bool RequestMachine::ends_by_id(std::size_t carried) const {
  return std::cmp_greater(carried, std::max<std::int64_t>(spec_.min_tokens, 0)) &&
         is_end_id(ledger_.ids()[carried - 1]);
}

std::size_t RequestMachine::without_end_id(std::size_t carried) const {
  return ends_by_id(carried) ? carried - 1 : carried;
}

std::int64_t RequestMachine::token_limit() const {
  std::int64_t limit = spec_.max_tokens.value_or(0);
  const auto kind = static_cast<std::size_t>(kind_);
  if (limit <= 0 && kind < spec_.default_max.size()) limit = spec_.default_max[kind];
  const auto* model = worker(origin_).model(this->model());
  const auto prompt = std::max(prompt_tokens_, static_cast<std::int64_t>(spec_.prompt_ids.size()));
  if (model != nullptr && model->max_len > 0 && prompt > 0) {
    const auto by_length = model->max_len - prompt;
    limit = limit > 0 ? std::min(limit, by_length) : by_length;
  }
  return limit;
}

bool RequestMachine::drops_held_text(Finish finish) const {
  const auto kind = static_cast<std::size_t>(kind_);
  return spec_.stream && finish == Finish::kLength && kind < spec_.drops_held_text.size() &&
         spec_.drops_held_text[kind];
}

bool RequestMachine::ends_here(std::size_t carried, Finish& finish) const {
  if (carried == 0) return false;
  if (ends_by_id(carried)) {
    finish = Finish::kStop;
    return true;
  }
  const auto limit = token_limit();
  if (limit > 0 && std::cmp_greater_equal(carried, limit)) {
    finish = Finish::kLength;
    return true;
  }
  return false;
}

void RequestMachine::open_plan(Instant now) {
  Plan plan = *plan_;
  StopMatcher matcher(spec_.stop);
  const bool may_stop = std::cmp_greater(plan.carried, spec_.min_tokens);
  auto out = matcher.push(plan.pending, may_stop);
  if (spec_.min_tokens > 0 && (out.stopped || (!may_stop && matcher.holds()))) {
    // Before or after min_tokens? Only the engine that wrote it knew.
    plan_broken(now, "a stop string among its first tokens may not count");
    return;
  }
  Finish finish = Finish::kStop;
  if (out.stopped || ends_here(plan.carried, finish)) {
    // Everything was generated before the break: nothing is resumed with nothing left.
    if (plan.is_hedge) record_.hedges_won += 1;
    drop_plan();
    rebuilt_ = true;
    if (out.stopped) {
      say(out.text);
    } else if (!drops_held_text(finish)) {
      say(plan.pending);
    }
    if (std::exchange(migrating_, false)) {
      record_.migrations.push_back({Mode::kTokens, reason_, true, plan.exact, now - broke_at_});
    }
    finish_with(now, out.stopped ? Finish::kStop : finish, out.stop);
    return;
  }
  if (plan.carried == 0 && can_restart()) {
    plan_broken(now, "");
    tokens_off_ = false;
    return;
  }
  const auto limit = token_limit();
  OpenAttempt open;
  open.attempt = next_attempt_++;
  open.model = model();
  open.worker = plan.worker;
  open.mode = Mode::kTokens;
  open.with_ids = true;
  open.exact = plan.exact;
  open.max_tokens = limit > 0 ? limit - static_cast<std::int64_t>(plan.carried) : 0;
  if (is_planted(Planted::kLimitNotRebased)) open.max_tokens = limit;
  open.min_tokens =
      std::max<std::int64_t>(0, spec_.min_tokens - static_cast<std::int64_t>(plan.carried));
  Attempt attempt;
  attempt.worker = plan.worker;
  attempt.mode = Mode::kTokens;
  attempt.with_ids = true;
  attempt.is_hedge = plan.is_hedge;
  attempt.is_suspect = plan.suspect;
  attempt.charged_hedge = plan.charged_hedge;
  attempt.base = plan.carried;
  attempt.prefill = plan.prefill;
  attempt.paced = true;
  attempt.exact = plan.exact;
  // What the plan held in the cells is the attempt's from now on.
  plan_.reset();
  ++plan_number_;
  carry_ = std::move(plan);
  begin_attempt(now, attempt, open);
}

// The first token of a resume is here: what its ids read as beyond the text sent goes first.
void RequestMachine::activate() {
  ledger_.truncate(carry_->carried);
  rebuilt_ = true;
  matcher_.reset();
  matcher_.hold_all(drops_held_text(Finish::kLength));
  swallow_ = carry_->swallow;
  if (is_planted(Planted::kHeldTextLost)) carry_->pending.clear();
  auto out = matcher_.push(carry_->pending, std::cmp_greater(carry_->carried, spec_.min_tokens));
  say(out.text);
  carry_.reset();
}

Instant RequestMachine::hedge_at() const {
  if (hedge_ || plan_ || !owner_ || !owner_->streams) return kNever;
  const auto& status = worker(owner_->worker);
  if (status.state == WorkerState::kSuspect) {
    return std::max(owner_->last_event + options_.hedge_after + spread(), hedge_not_before_);
  }
  if (slow_since_ != Instant{}) return std::max(slow_since_ + spread(), hedge_not_before_);
  auto at = owner_->last_event + options_.hedge_after;
  if (!owner_->got_token) {
    at =
        owner_->started + std::max<Duration>(options_.first_token_hedge, 5 * core_.first_token_p99);
    // Behind a queue that the engine tells of, a first token is late for a reason.
    at = std::max(at, status.cells->queue_known_until());
  }
  return std::max(at, hedge_not_before_);
}

// So that a survivor does not get all streams of a suspect or slow worker in one instant.
Duration RequestMachine::spread() const {
  const auto share =
      static_cast<double>(mix64(static_cast<std::uint64_t>(arrived_.time_since_epoch().count())) %
                          1000) /
      1000.0;
  return Duration(
      static_cast<std::int64_t>(share * static_cast<double>(options_.hedge_spread.count())));
}

void RequestMachine::start_hedge(Instant now) {
  hedge_not_before_ = now + std::chrono::seconds(1);
  const bool tokens = needs_tokens() || ledger_.size() > 0;
  if (tokens ? !can_tokens() || ledger_.has_untold_tail() : !options_.restart) return;
  // The streams of a worker that is given up are no guesses: they are not charged.
  const bool charge = worker(owner_->worker).state != WorkerState::kSuspect &&
                      slow_since_ == Instant{} && !is_planted(Planted::kHedgeNotCharged);
  const auto chosen = pick(now, tokens, true, false);
  if (!chosen || is_excluded(*chosen) || worker(*chosen).state != WorkerState::kReady) return;
  if (charge && !core_.hedges->take(core_.running_requests)) {
    core_.hedges_refused += 1;
    return;
  }
  record_.hedges += 1;
  if (!tokens) {
    open_plain(now, *chosen, true, false, charge);
    return;
  }
  Plan plan;
  plan.worker = *chosen;
  plan.is_hedge = true;
  plan.charged_hedge = charge;
  begin_plan(now, std::move(plan));
}

void RequestMachine::drop_hedge(std::uint32_t& outcome) {
  ++outcome;
  drop_plan();
  if (hedge_) {
    record_.wasted_tokens += hedge_->tokens;
    end_attempt(hedge_, !is_planted(Planted::kLoserNotCancelled));
  }
  hedge_role_ = false;
}

// Its worker is slow, and the hedge that was to take over came second: now it is cut and goes on
// from here, where the other worker has its prefix by now.
void RequestMachine::move_from_slow(Instant now) {
  if (!can_tokens() || ledger_.has_untold_tail()) return;
  const auto chosen = pick(now, true, true, false);
  if (!chosen || is_excluded(*chosen) || worker(*chosen).state != WorkerState::kReady) return;
  attempt_failed(now, owner_->id, Reason::kSlow);
}

}  // namespace hf::core
