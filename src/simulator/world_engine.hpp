// One engine process of the simulated world: EngineModel behind a process that can be killed,
// frozen, wedged and made to refuse, and the meaning of its streams as a dialect's reader would
// tell it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/request_machine.hpp"
#include "simulator/engine_model.hpp"
#include "simulator/world_schedule.hpp"

namespace hf::simulator {

/// An UpstreamEvent that owns what it shows.
struct OwnedEvent {
  core::EventKind kind = core::EventKind::kTokens;
  std::vector<TokenId> ids;
  std::vector<TokenId> prompt_ids;
  std::string text;
  core::Finish finish = core::Finish::kNone;
  std::int64_t completion_tokens = -1;
  std::int64_t prompt_tokens = -1;
  bool plain = true;
  core::UpstreamEvent view() const;
};

/// What arrives at a frontend on an attempt's connection.
struct Arrival {
  enum class Kind : std::uint8_t { kHead, kStatus, kEvent, kWhole, kEnd, kFailed };
  Kind kind = Kind::kEvent;
  int status = 0;
  Duration retry_after{};
  core::Reason reason = core::Reason::kNone;
  OwnedEvent event;
};

/// What is asked of an engine.
struct EngineOrder {
  SequenceParams params;
  bool chat = false;
  bool stream = true;
  bool by_ids = false;  // the token endpoint: a resume
  bool with_ids = false;
  bool include_usage = false;
  bool opaque = false;  // some event carries more than text
  bool poison = false;  // kills the process at its prefill
};

/// One attempt's connection. The engine writes, the frontend closes.
struct Stream : std::enable_shared_from_this<Stream> {
  EngineOrder order;
  std::function<void(Arrival)> arrive;  // runs at the frontend, in order
  Duration link{};
  Instant last_arrival{};
  bool closed = false;  // by the frontend: nothing arrives any more
  Instant closed_at{};
  bool ended = false;  // by the engine
  bool started = false;
  SequenceId sequence = 0;
  std::string whole;
  std::int64_t prompt_tokens = 0;
};

enum class Fault : std::uint8_t {
  kKill,      // SIGKILL: connections reset, connects refused
  kCoreDies,  // as vLLM: in-band error, [DONE], clean end; /health 503; exit after 2 s
  kTerm,      // finish_reason abort on all, then exit
  kFreeze,    // SIGSTOP
  kWedge,     // probes answered, no tokens
  kPause,     // no tokens for a while, probes answered
  kSlow,
  kEarlyEnd,  // all streams end cleanly without a finish
  kReset,     // all connections reset, the process lives
  kRefuse,    // the next requests get a status
  // Of wide worlds only:
  kPartition,  // nothing passes between it and the frontends; what was sent arrives afterwards
};
inline constexpr std::uint64_t kFaultCount = 10;  // of those that every world may have
std::string_view to_string(Fault fault);

struct EngineTraits {
  EngineOptions options;
  bool refuses_ids = false;   // 400 to our fields: an old build
  bool unauthorized = false;  // 401 to everything
  std::uint64_t build = 1;    // exact identity
};

class EngineProcess {
 public:
  EngineProcess(Schedule& schedule, EngineTraits traits, std::size_t index,
                std::function<void(std::string)> trace);

  /// Called when the connection attempt reaches the host.
  void accept(std::shared_ptr<Stream> stream);
  /// Called when the frontend's close reaches the host.
  void hang_up(const std::shared_ptr<Stream>& stream);
  /// A small call (probe, tokenizer): `answer` runs now, at thaw, or never; false: refused.
  bool call(std::function<void()> answer);

  void apply(Fault fault, Duration how_long);

  bool is_up() const { return up_; }
  bool is_dying() const { return dying_; }
  /// Frozen or cut off: what it is told now, it hears later.
  bool is_frozen() const { return frozen_ || cut_off_; }
  /// Nothing has been wrong with it since then (kNever: something is wrong now).
  Instant clean_since() const { return troubles_ > 0 ? kNever : clean_since_; }
  std::uint32_t deaths() const { return deaths_; }
  /// How many faults met it.
  std::uint32_t faults() const { return faults_; }
  bool was_cut_off() const { return was_cut_off_; }
  /// It refused or was silent at some time, so that a frontend may have called it dead.
  bool was_ever_away() const { return was_away_; }
  /// It generates for a stream that was closed longer ago than a cancel may take.
  bool writes_for_nobody() const;
  std::uint64_t generated_tokens() const;
  std::int32_t sequences() const;
  const EngineTraits& traits() const { return traits_; }
  const EngineModel& model() const { return *model_; }

 private:
  void submit(const std::shared_ptr<Stream>& stream);
  void poll_later();
  void write(Stream& stream, const TokenEvent& token);
  void write_llama(Stream& stream, const TokenEvent& token);
  void write_end(Stream& stream, core::Finish finish, std::int64_t count);
  void send(Stream& stream, Arrival arrival);
  void send_event(Stream& stream, OwnedEvent event);
  void count_into(const Stream& stream, OwnedEvent& event, std::int64_t count) const;
  void fail_all(core::Reason reason);
  void die();
  void revive();
  void thaw();
  void heal();
  void hear();
  void trouble(Duration how_long, std::function<void()> over);

  Schedule& schedule_;
  EngineTraits traits_;
  std::size_t index_;
  std::function<void(std::string)> trace_;
  std::unique_ptr<EngineModel> model_;
  std::unordered_map<SequenceId, std::shared_ptr<Stream>> streams_;
  std::vector<std::shared_ptr<Stream>> unsubmitted_;  // accepted by the kernel of a frozen process
  std::vector<std::function<void()>> parked_;
  std::uint64_t poll_number_ = 0;
  std::uint64_t incarnation_ = 0;
  std::uint64_t generated_before_ = 0;  // by earlier incarnations
  bool up_ = true, dying_ = false, frozen_ = false, cut_off_ = false;
  std::vector<std::pair<std::shared_ptr<Stream>, Arrival>> undelivered_;
  int refusals_ = 0, refusal_status_ = 503;
  bool was_away_ = false, was_cut_off_ = false;
  int troubles_ = 0;
  std::uint32_t deaths_ = 0;
  std::uint32_t faults_ = 0;
  Instant clean_since_{};
};

}  // namespace hf::simulator
