// Mistakes that tests and `holdfast sim --plant` can switch on, to prove that they would be found.
// Nothing else sets this; the cost is one relaxed load at a place that is seldom passed.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace hf::core {

enum class Planted : std::uint8_t {
  kNone,
  kTokenTwice,
  kIdDropped,
  kResumeFromText,
  kHeldTextLost,
  kStopMissed,
  kLimitNotRebased,
  kUsageOfResume,
  kDoneMissing,
  kFinishedResumed,
  kExclusionForgotten,
  kRetryNotCharged,
  kHedgeNotCharged,
  kHedgeNotReturned,
  kRunningNotReturned,
  kPrefillNotReturned,
  kQueueSlotLeaked,
  kLoserNotCancelled,
  kCancelNotSent,
  kStaleHedgeWins,
  kPoisonForgotten,
  kDeadIgnored,
  kStalePlan,
  kClockNotRestarted,
  kPauseIgnored,
  kHalfOpenStaysOpen,
  kNeverIdentified,
  kEjectedGetsWork,
  kRetryAfterIgnored,
  kWaitsForEver,
  kPacingForgotten,
};

struct PlantedMistake {
  Planted mistake;
  std::string_view name;
  std::string_view what;
};

/// All of them, each with what is done wrong.
inline constexpr std::array kPlantedMistakes = std::to_array<PlantedMistake>({
    {Planted::kTokenTwice, "token_twice",
     "a resume carries one id less than was sent: that token is sent again"},
    {Planted::kIdDropped, "id_dropped",
     "the last id is not carried, though it is counted as if it were"},
    {Planted::kResumeFromText, "resume_from_text",
     "the driver sends what the ids read as, not the ids"},
    {Planted::kHeldTextLost, "held_text_lost",
     "text that the dead engine held back is not sent at the resume"},
    {Planted::kStopMissed, "stop_missed", "a stop string in a resumed answer is let through"},
    {Planted::kLimitNotRebased, "limit_not_rebased",
     "a resume is given the whole limit, not what is left of it"},
    {Planted::kUsageOfResume, "usage_of_resume",
     "the usage counts the resume's prompt, not the client's"},
    {Planted::kDoneMissing, "done_missing", "the answer ends without [DONE]"},
    {Planted::kFinishedResumed, "finished_resumed",
     "a stream that breaks after its finish reason goes on elsewhere"},
    {Planted::kExclusionForgotten, "exclusion_forgotten",
     "a worker that failed the request is not excluded for it"},
    {Planted::kRetryNotCharged, "retry_not_charged", "retries cost nothing of their budget"},
    {Planted::kHedgeNotCharged, "hedge_not_charged", "hedges cost nothing of their budget"},
    {Planted::kHedgeNotReturned, "hedge_not_returned",
     "a hedge that ended keeps its place in the budget"},
    {Planted::kRunningNotReturned, "running_not_returned",
     "a worker's counter of running attempts is not given back"},
    {Planted::kPrefillNotReturned, "prefill_not_returned",
     "prefill that ended is still owed by its worker"},
    {Planted::kQueueSlotLeaked, "queue_slot_leaked",
     "who leaves the admission queue keeps its place there"},
    {Planted::kLoserNotCancelled, "loser_not_cancelled", "the loser of a hedge runs on"},
    {Planted::kCancelNotSent, "cancel_not_sent",
     "the driver does not tell the engine that an attempt was cancelled"},
    {Planted::kStaleHedgeWins, "stale_hedge_wins",
     "a hedge takes over although the owner has written since it began"},
    {Planted::kPoisonForgotten, "poison_forgotten",
     "nobody counts how many workers died of a request"},
    {Planted::kDeadIgnored, "dead_ignored", "streams of a dead worker wait for it"},
    {Planted::kStalePlan, "stale_plan",
     "a resume is opened at a worker that has left the ready ones meanwhile"},
    {Planted::kClockNotRestarted, "clock_not_restarted",
     "after a pause of our own process, silence during it counts"},
    {Planted::kPauseIgnored, "pause_ignored", "the stall clock runs while a client does not read"},
    {Planted::kHalfOpenStaysOpen, "half_open_stays_open", "a good probe does not close a breaker"},
    {Planted::kNeverIdentified, "never_identified",
     "a dead worker that answers again is never used again"},
    {Planted::kEjectedGetsWork, "ejected_gets_work",
     "routing takes ejected workers for ready ones"},
    {Planted::kRetryAfterIgnored, "retry_after_ignored",
     "an overloaded worker is asked again before it wants to be"},
    {Planted::kWaitsForEver, "waits_for_ever", "waiting for a worker has no limit"},
    {Planted::kPacingForgotten, "pacing_forgotten",
     "all orphans of a worker land on a survivor at once"},
});

inline std::atomic<Planted> planted_mistake{Planted::kNone};

inline bool is_planted(Planted mistake) {
  return planted_mistake.load(std::memory_order_relaxed) == mistake;
}

}  // namespace hf::core
