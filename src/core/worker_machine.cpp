#include "core/worker_machine.hpp"

#include <algorithm>

#include "core/planted.hpp"
#include "core/transitions.hpp"

namespace hf::core {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr Duration kProbeEvery = seconds(1);
constexpr Duration kSilenceMin = seconds(1);
constexpr Duration kSilenceMax = seconds(10);
constexpr Duration kDefaultItl = milliseconds(100);
constexpr std::uint64_t kSamplesMin = 100;
// An idle worker loses nobody's tokens while we look a third time.
constexpr std::uint32_t kProbesIdle = 3;
constexpr std::uint32_t kProbesBusy = 2;
// A suspect that lost all its streams is tried again after this, if others are there.
constexpr Duration kSuspectTrial = seconds(10);
// A silence that proved harmless is not suspected again for so long, nor one of twice its length.
constexpr Duration kHarmlessFor = seconds(60);
// A pause of ours that long shows in what is compared over kPaceLooksBack.
constexpr Duration kDistorting = seconds(1);
}  // namespace

WorkerMachine::WorkerMachine(std::shared_ptr<WorkerCells> cells, std::uint64_t seed)
    : cells_(std::move(cells)), random_(seed) {}

Duration WorkerMachine::silence_threshold() const {
  Duration p99 = kDefaultItl;
  if (cells_->itl.count() >= kSamplesMin) p99 = cells_->itl.quantile(0.99);
  const auto owed = cells_->prefill_owed.load(std::memory_order_relaxed);
  const auto rate = std::max<std::int64_t>(cells_->prefill_rate.load(std::memory_order_relaxed), 1);
  const auto prefill = Duration(std::max<std::int64_t>(owed, 0) * 1'000'000'000 / rate);
  const auto harmless = std::max(kSilenceMin, 2 * harmless_silence_);
  return std::min(std::max(harmless, 10 * p99) + prefill, kSilenceMax);
}

bool WorkerMachine::is_silent(Instant now) const {
  if (cells_->reading.load(std::memory_order_relaxed) <= 0) return false;
  const auto silence = now - silent_since();
  return silence >= kSilenceMin && silence >= silence_threshold();
}

Instant WorkerMachine::silent_since() const {
  return std::max(cells_->last_progress(), clock_start_);
}

// It went on by itself: so long a silence is its way for now (a long prefill, a slow machine).
void WorkerMachine::leave_suspicion(Instant now) {
  harmless_silence_ = std::max(harmless_silence_, cells_->last_progress() - silent_from_);
  harmless_until_ = now + kHarmlessFor;
}

Duration WorkerMachine::dead_probe_delay() {
  return milliseconds(250) + milliseconds(random_.below(500));
}

WorkerMachine::Wish WorkerMachine::became(WorkerState state, std::string_view reason) {
  Wish wish;
  wish.changed = state != state_;
  if (wish.changed) worker_transitions.note(state_, state);
  state_ = state;
  last_reason_ = reason;
  return wish;
}

WorkerMachine::Wish WorkerMachine::die(Instant now, std::string_view reason) {
  if (state_ == WorkerState::kDead) return {};
  if (state_ != WorkerState::kStarting) ++deaths_;
  breaker_.reset();  // a dead worker is not under the breaker's timer
  pace_.reset();
  harmless_silence_ = {};
  next_probe_ = now + dead_probe_delay();
  return became(WorkerState::kDead, reason);
}

// Ready again, or slow if that is what it was.
WorkerMachine::Wish WorkerMachine::usable(std::string_view reason) {
  return became(pace_.is_slow() ? WorkerState::kSlow : WorkerState::kReady, reason);
}

WorkerMachine::Wish WorkerMachine::compared(Instant now, const Pace& own, Duration peers) {
  if (!takes_work(state_) || now < pace_from_) return {};
  const bool idle = cells_->running.load(std::memory_order_relaxed) == 0;
  if (!pace_.look(now, own, peers, idle, may_eject_for_silence_)) return {};
  if (pace_.is_slow()) return became(WorkerState::kSlow, "slow");
  return became(WorkerState::kReady, own.is_known() ? "pace" : "trial");
}

WorkerMachine::Wish WorkerMachine::tick(Instant now) {
  Wish wish;
  cells_->itl.turn(now);
  if (now >= harmless_until_) harmless_silence_ = {};
  if (state_ == WorkerState::kSuspect) {
    const bool moving = cells_->last_progress() > suspect_since_;
    const bool idle = cells_->running.load(std::memory_order_relaxed) == 0;
    const bool rested =
        is_last_ ? alive_at_ > suspect_since_ : now - suspect_since_ >= kSuspectTrial;
    if (moving) leave_suspicion(now);
    if (moving || (idle && rested)) wish = usable(moving ? "progress" : "trial");
  }
  if (state_ == WorkerState::kEjected && now < breaker_.probe_at()) return wish;
  const bool due = now >= next_probe_ || (takes_work(state_) && is_silent(now));
  if (due && !probing_ && !identifying_) {
    probing_ = true;
    next_probe_ = now + kProbeEvery;
    wish.probe = true;
  }
  return wish;
}

WorkerMachine::Wish WorkerMachine::probed(Instant now, ProbeResult result) {
  probing_ = false;
  if (result == ProbeResult::kInconclusive) return {};
  if (result == ProbeResult::kRefused) {
    probes_failed_ = 0;
    return die(now, "refused");
  }
  if (result == ProbeResult::kReset && ++probes_failed_ < kProbesIdle) {
    // Requests may be waiting to know whether it died: asked again at once.
    Wish again;
    again.probe = true;
    probing_ = true;
    return again;
  }
  if (result != ProbeResult::kAnswered) return probe_failed(now);
  probes_failed_ = 0;
  alive_at_ = now;
  switch (state_) {
    case WorkerState::kStarting:
    case WorkerState::kDead: {
      // It may be another build or another model: nothing is placed before it is known again.
      Wish wish;
      wish.identify = !identifying_;
      identifying_ = true;
      if (is_planted(Planted::kNeverIdentified) && deaths_ > 0) wish.identify = false;
      return wish;
    }
    case WorkerState::kEjected:
      breaker_.probed(now, true);
      if (!breaker_.is_open()) return usable("half_open");
      return {};
    case WorkerState::kReady:
    case WorkerState::kSlow:
      if (is_silent(now)) {
        suspect_since_ = now;
        silent_from_ = silent_since();
        return became(WorkerState::kSuspect, "silent_streams");
      }
      break;
    case WorkerState::kSuspect:
    case WorkerState::kRemoved: break;  // the fleet's word, never a machine's
  }
  Wish wish;
  wish.changed = true;  // alive_at: a request may be waiting for this verdict
  return wish;
}

WorkerMachine::Wish WorkerMachine::probe_failed(Instant now) {
  ++probes_failed_;
  if (state_ == WorkerState::kEjected) breaker_.probed(now, false);
  if (state_ == WorkerState::kStarting || state_ == WorkerState::kDead) {
    next_probe_ = now + dead_probe_delay();
    return {};
  }
  const bool busy = cells_->reading.load(std::memory_order_relaxed) > 0;
  if (busy && !is_silent(now)) {
    // Its streams flow: an unanswered /health is no reason to cut them.
    if (probes_failed_ > kProbesBusy) probes_failed_ = kProbesBusy;
    return {};
  }
  if (probes_failed_ >= (busy ? kProbesBusy : kProbesIdle) && may_eject_for_silence_) {
    probes_failed_ = 0;
    return die(now, "silent");
  }
  Wish wish;
  wish.probe = true;  // the second one follows at once
  probing_ = true;
  return wish;
}

WorkerMachine::Wish WorkerMachine::identified(Instant now, bool ok) {
  identifying_ = false;
  if (!ok) {
    next_probe_ = now + dead_probe_delay();
    return {};
  }
  breaker_.reset();
  probes_failed_ = 0;
  alive_at_ = now;
  clock_start_ = now;
  next_probe_ = now + kProbeEvery;
  Wish wish = became(WorkerState::kReady, "identified");
  wish.changed = true;
  return wish;
}

WorkerMachine::Wish WorkerMachine::attempt_failed(Instant now, Reason reason) {
  Wish wish;
  switch (reason) {
    case Reason::kConnect: return die(now, "refused");
    case Reason::kReset:
    case Reason::kEarlyEnd:
    case Reason::kAbort:
    case Reason::kInBandError:
    case Reason::kHttp5xx:
    case Reason::kStall:
    case Reason::kProtocol: break;
    case Reason::kNone:
    case Reason::kSlow:
    case Reason::kDead:
    case Reason::kOverloaded:
    case Reason::kRefused: return {};
  }
  if (state_ == WorkerState::kDead || state_ == WorkerState::kStarting) return {};
  // All failures of one death count once: what a probe finds dead is out before three are counted.
  if (breaker_.failed(now) && may_eject_for_silence_) {
    wish = became(WorkerState::kEjected, "errors");
  }
  if (!probing_ && !identifying_) {
    probing_ = true;
    wish.probe = true;
  }
  return wish;
}

void WorkerMachine::attempt_succeeded(Instant now) {
  breaker_.succeeded(now);
}

void WorkerMachine::restart_clocks(Instant now, Duration late) {
  if (is_planted(Planted::kClockNotRestarted)) return;
  clock_start_ = now;
  probes_failed_ = 0;
  if (late >= kDistorting) pace_from_ = now + kPaceLooksBack + kDistorting;
}

}  // namespace hf::core
