// Going on from the text that the client has, where its token ids are not known: another sample of
// the rest, labelled. Opt-in (continuation.modes). And: whether the text of a stream is all of it.
#include <algorithm>
#include <utility>

#include "core/request_machine.hpp"

namespace hf::core {

bool RequestMachine::can_text() const {
  return options_.text && spec_.stream && !text_off_ && !opaque_sent_ && !sent_text_.empty();
}

// `any`: some worker of the model could do it, now or later.
std::optional<std::size_t> RequestMachine::pick_text(Instant now, bool suspect, bool& any) {
  std::vector<std::size_t> never;
  any = false;
  for (const auto& status : core_.view->workers) {
    const auto kind = static_cast<std::size_t>(status.kind);
    const bool allowed = kind < spec_.text_allowed.size() && spec_.text_allowed[kind];
    if (!allowed) never.push_back(status.index);
    any = any || (allowed && status.model(model()) != nullptr);
  }
  PickRequest request;
  request.model = model();
  request.session = spec_.session;
  request.now = now;
  request.exclude = excluded_;
  request.never = never;
  request.continuation = true;
  request.suspect = suspect;
  request.prefill_tokens = prompt_tokens() + completion_tokens();
  return core_.router->pick(*core_.view, request);
}

void RequestMachine::place_text(Instant now, bool suspect) {
  bool any = false;
  const auto chosen = pick_text(now, suspect, any);
  if (!chosen) {
    if (!any) refuse("no worker can go on from its text");
    return;
  }
  if (const auto until = overloaded_until(*chosen); until > now) {
    not_before_ = until;
    return;
  }
  if (suspect && !take_suspect_slot(*chosen)) return;
  open_text(now, *chosen, suspect);
}

void RequestMachine::open_text(Instant now, std::size_t index, bool suspect) {
  const auto written = std::max<std::int64_t>(completion_tokens(), 0);
  const auto limit = token_limit();
  if (limit > 0 && written >= limit) {
    // Everything was generated before the break, as far as anybody counted.
    if (suspect) worker(index).cells->suspects.store(0, std::memory_order_relaxed);
    // Text that waits for the rest of a stop string was generated too.
    if (rebuilt_ && swallow_.empty() && !drops_held_text(Finish::kLength)) say(matcher_.flush());
    rebuilt_ = true;
    if (std::exchange(migrating_, false)) {
      record_.migrations.push_back({Mode::kText, reason_, true, false, now - broke_at_});
    }
    finish_with(now, Finish::kLength, {});
    return;
  }
  Attempt attempt;
  attempt.worker = index;
  attempt.mode = Mode::kText;
  attempt.is_suspect = suspect;
  attempt.exact = false;
  attempt.base = static_cast<std::size_t>(written);
  attempt.prefill = prompt_tokens() + written;
  attempt.paced = true;
  auto& cells = *worker(index).cells;
  cells.prefill_owed.fetch_add(attempt.prefill, std::memory_order_relaxed);
  cells.resume_prefill.fetch_add(attempt.prefill, std::memory_order_relaxed);
  OpenAttempt open;
  open.attempt = next_attempt_++;
  open.worker = index;
  open.mode = Mode::kText;
  open.model = model();
  open.exact = false;
  open.max_tokens = limit > 0 ? limit - written : 0;
  open.min_tokens = std::max<std::int64_t>(0, spec_.min_tokens - written);
  begin_attempt(now, attempt, open);
}

// Its first token is here. Text that the engine before held back for a stop string is written
// again, so nothing of a stop string lies before the seam.
void RequestMachine::activate_text() {
  rebuilt_ = true;
  tokens_off_ = true;
  swallow_.clear();
  matcher_.reset();
}

// llama.cpp streams nothing of a token that ends in half a character; where the limit cuts there,
// its whole body shows it (measured), and what else the token says.
bool RequestMachine::ends_untold() const {
  return may_hide_end() && options_.restart && std::cmp_greater(final_count_, ledger_.size());
}

bool RequestMachine::may_hide_end() const {
  const auto kind = static_cast<std::size_t>(kind_);
  return !spec_.stream && finish_ == Finish::kLength && kind < spec_.drops_held_text.size() &&
         spec_.drops_held_text[kind];
}

// Whether something is hidden shows in the count, which may come after the finish reason.
bool RequestMachine::end_is_told() const {
  return !may_hide_end() || end_told_;
}

}  // namespace hf::core
