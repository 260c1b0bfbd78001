// The oracle of what a request may cost others: budgets, pacing, refusals that are to be obeyed,
// clocks that stand still, waits that end. It keeps books of its own beside the machines'.
#include <algorithm>

#include "simulator/world_request.hpp"

namespace hf::simulator {
namespace {
using std::chrono::milliseconds;
/// What the frontend's ticks and a verdict may add to a wait.
constexpr Duration kWaitSlack = milliseconds(5'000);
/// Refusals cost nothing, but come at most twice a second for a minute.
constexpr std::uint32_t kAttemptsMax = 300;
}  // namespace

bool ClientRun::is_live(const Open& open) const {
  return !open.stream->closed && !open.stream->ended;
}

std::size_t ClientRun::live_attempts() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(open_, [this](const auto& entry) { return is_live(entry.second); }));
}

std::int64_t ClientRun::charged_hedges() const {
  return std::ranges::count_if(
      open_, [this](const auto& entry) { return is_live(entry.second) && entry.second.charged; });
}

// A worker gets this request, for an attempt or for the questions before it.
void ClientRun::check_placement(std::size_t worker, core::Mode mode) {
  if (const auto found = refused_until_.find(worker);
      found != refused_until_.end() && now() < found->second) {
    violation("worker " + std::to_string(worker) + " is asked before it wants to be");
  }
  // A partition takes its streams, but not by its fault.
  const bool cut_off = std::ranges::any_of(
      commons_.engines, [](const auto& engine) { return engine->was_cut_off(); });
  // A death that came and went while our process was stopped was never seen.
  const bool unseen = core_.frontend->was_paused();
  if (draw_.poison && !cut_off && !unseen && connections_lost_ > options_.poison_deaths) {
    violation("poison is tried after " + std::to_string(connections_lost_) + " workers");
  }
  if (machine_.record().attempts > kAttemptsMax) violation("tries in a hot loop");
  if (mode != core::Mode::kTokens) return;
  const auto owed = core_.context.view->workers[worker].cells->resume_prefill.load();
  const auto own = std::max(machine_.prompt_tokens(), draw_.spec.prompt_tokens_estimate) +
                   static_cast<std::int64_t>(machine_.ledger().size());
  if (owed > core_.resume_prefill_max && owed > own) {
    violation("worker " + std::to_string(worker) + " owes " + std::to_string(owed) +
              " tokens of prefill to continuations");
  }
}

// One more while another runs. True: the budget must know of it.
bool ClientRun::note_hedge(core::Mode mode, bool was_prepared) {
  const auto owner =
      std::ranges::find_if(open_, [this](const auto& entry) { return is_live(entry.second); });
  if (owner->second.paused) violation("hedges while its client does not read");
  if (mode == core::Mode::kTokens || was_prepared) return false;
  // Streams of a worker that is given up are no guesses.
  const auto state = core_.context.view->workers[owner->second.worker].state;
  if (state != core::WorkerState::kReady) return false;
  std::int64_t charged = 1;
  for (const auto* run : core_.open) charged += run->is_done() ? 0 : run->charged_hedges();
  if (charged > core_.hedges.running()) {
    violation(std::to_string(charged) + " hedges run, the budget knows of " +
              std::to_string(core_.hedges.running()));
  }
  return true;
}

// The first failover is free, refusals cost nothing; every other restart is charged.
void ClientRun::check_retry(core::Mode mode, bool is_hedge) {
  const bool is_due = std::exchange(owes_retry_, false);
  if (!is_due || is_hedge || mode != core::Mode::kRestart) return;
  ++core_.retries_due;
  if (core_.retries.taken() < core_.retries_due) {
    violation("retry " + std::to_string(core_.retries_due) + " of its core, " +
              std::to_string(core_.retries.taken()) + " were charged");
  }
}

void ClientRun::note_failure(std::size_t worker, core::Reason reason) {
  owes_retry_ = false;
  waiting_from_ = now();
  const bool typed = reason == core::Reason::kOverloaded || reason == core::Reason::kRefused;
  const auto found = std::ranges::find_if(
      open_, [worker](const auto& entry) { return entry.second.worker == worker; });
  const auto open =
      std::ranges::count_if(open_, [](const auto& entry) { return !entry.second.stream->closed; });
  if (typed || found == open_.end() || open != 1) return;
  if (reason == core::Reason::kStall && found->second.paused)
    violation("stalled while its client does not read");
  ++failures_;
  // A continuation is paced, not charged.
  const bool continues =
      machine_.ledger().size() > 0 || !machine_.sent_text().empty() || draw_.opaque;
  owes_retry_ = failures_ > 1 && reason != core::Reason::kConnect && !continues;
}

// Nothing waits for a worker that was declared dead.
void ClientRun::check_view() {
  if (is_done()) return;
  for (const auto& [id, open] : open_) {
    const auto& worker = core_.context.view->workers[open.worker];
    if (is_live(open) && worker.state == core::WorkerState::kDead && worker.deaths > open.deaths)
      violation("attempt " + std::to_string(id) + " waits for a dead worker");
  }
}

void ClientRun::check_waiting() {
  const bool waits = !is_done() && machine_.state() == core::RequestMachine::State::kWaiting;
  if (!waits || machine_.record().attempts != attempts_then_) {
    attempts_then_ = machine_.record().attempts;
    waiting_from_ = now();
    return;
  }
  const auto hold = machine_.has_sent() ? options_.resume_hold : options_.admission_hold;
  if (now() - waiting_from_ <= hold + kWaitSlack) return;
  violation("waits for " + std::to_string(millis(now() - waiting_from_)) + " ms");
  waiting_from_ = now() + std::chrono::hours(1);  // once is enough
}

}  // namespace hf::simulator
