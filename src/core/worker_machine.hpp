// The liveness of one worker: who is ready, suspect, ejected or dead, and why. Runs on the control
// core. Decides without I/O: it is told what happened and says when it wants a probe.
//
//   starting ──identified──▶ ready ◀──progress── suspect
//      ▲                       │ silent, probes answered ──▶ suspect
//      │ identified            │ breaker opens ──▶ ejected ──good probe──▶ ready
//   (re-identify) ◀─good probe─ dead ◀─ refused; or silent and two probes unanswered
//
// Beside these, `slow`: ready, but much slower than its peers (core/pace_watch.hpp).
//
// Bounds: a frozen worker is dead after silence_threshold() + 2 × 0.4 s; a refusing one at once.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/random.hpp"
#include "base/time.hpp"
#include "core/breaker.hpp"
#include "core/fleet.hpp"
#include "core/pace_watch.hpp"

namespace hf::core {

/// What the outcome of a probe was. `kReset`: the connection ended under it, as at a death; the
/// next one tells. `kInconclusive`: our own loop was late, it proves nothing.
enum class ProbeResult : std::uint8_t { kAnswered, kRefused, kSilent, kReset, kBad, kInconclusive };

class WorkerMachine {
 public:
  WorkerMachine(std::shared_ptr<WorkerCells> cells, std::uint64_t seed);

  /// What the driver must do after each input.
  struct Wish {
    bool probe = false;     // send a health probe now (0.4 s limit), unless one is under way
    bool identify = false;  // find out dialect, model and identity, then call identified()
    bool changed = false;   // the state changed: publish a new view
  };

  Wish tick(Instant now);
  Wish probed(Instant now, ProbeResult result);
  Wish identified(Instant now, bool ok);
  /// An attempt there failed. `in_flight`: it had been accepted (reset, cut, abort …).
  Wish attempt_failed(Instant now, Reason reason);
  void attempt_succeeded(Instant now);
  /// Its own pace beside its peers'; call it every quarter of a second or so.
  Wish compared(Instant now, const Pace& own, Duration peers);
  /// Our own loop was late, or paused, for that long: silence up to now proves nothing. After a
  /// second or more what piled up meanwhile is read in one go: nor do gaps, until they are too old
  /// to be looked at.
  void restart_clocks(Instant now, Duration late = {});
  /// Called by the fleet before a silent worker is declared dead: half of a model's workers at
  /// most.
  void set_may_eject(bool may) { may_eject_for_silence_ = may; }
  /// No other worker can take what this one serves: it is used again as soon as it answers.
  void set_is_last(bool last) { is_last_ = last; }

  WorkerState state() const { return state_; }
  std::uint32_t deaths() const { return deaths_; }
  Instant alive_at() const { return alive_at_; }
  std::string_view last_reason() const { return last_reason_; }
  /// Silence that makes us look: max(1 s, 10 × p99 of its gaps) + owed prefill ÷ rate, ≤ 10 s.
  Duration silence_threshold() const;

 private:
  bool is_silent(Instant now) const;
  Instant silent_since() const;
  void leave_suspicion(Instant now);
  Wish die(Instant now, std::string_view reason);
  Wish usable(std::string_view reason);
  Wish became(WorkerState state, std::string_view reason);
  Wish probe_failed(Instant now);
  Duration dead_probe_delay();

  std::shared_ptr<WorkerCells> cells_;
  Random random_;
  WorkerState state_ = WorkerState::kStarting;
  Breaker breaker_;
  std::uint32_t deaths_ = 0;
  std::uint32_t probes_failed_ = 0;  // in a row
  bool probing_ = false;
  bool identifying_ = false;
  bool may_eject_for_silence_ = true;
  bool is_last_ = false;
  PaceWatch pace_;
  Duration harmless_silence_{};  // it was silent for that long and went on, lately
  Instant harmless_until_{};
  Instant silent_from_{};  // of the suspicion
  Instant next_probe_{};
  Instant alive_at_{};
  Instant clock_start_{};  // silence is counted from here at the earliest
  Instant suspect_since_{};
  Instant pace_from_{};  // before that gaps tell of us, not of it
  std::string_view last_reason_ = "start";
};

}  // namespace hf::core
