// One request of the simulated world: the driver of its machine (what the frontend's coroutine is
// in production), its client, and the oracle that compares every byte that the client gets.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/request_machine.hpp"
#include "simulator/world_frontend.hpp"

namespace hf::simulator {

/// What vLLM's completions make where no limit was stated.
inline constexpr std::int32_t kVllmCompletionsLimit = 16;

/// A fault that waits for a request to reach a point.
struct Trap {
  enum class Phase : std::uint8_t { kOpen, kHead, kToken, kFinish, kAsk, kResume, kArrival };
  enum class Act : std::uint8_t { kEngine, kLeave, kStop, kKill, kPauseReading, kPauseFrontend };
  Phase phase = Phase::kToken;
  std::uint32_t token = 0;  // kToken: which event of tokens
  bool by_count = false;    // kToken: not which event, but so many tokens
  Act act = Act::kEngine;
  Fault fault = Fault::kKill;
  bool everywhere = false;  // on all engines
  Duration delay{};
  Duration how_long{};
  int times = 1;
};

/// The connections of a request's first attempts are bad: from an arrival on.
struct LinkDraw {
  std::uint32_t at = 0;  // after so many arrivals
  bool cut = false;      // reset; else everything is late from there on
  Duration late{};
  int attempts = 1;
};

/// A request as it was drawn: what the client sends and how it behaves.
struct RequestDraw {
  std::size_t number = 0;
  core::RequestSpec spec;
  std::string prompt_text;  // where the client did not send ids
  SequenceParams params;    // without the prompt
  bool greedy = true;
  bool opaque = false;
  bool poison = false;
  bool dropped = false;  // left out of the world by WorldOptions::keep
  Duration arrives{};
  std::optional<Duration> leaves_after;
  std::optional<std::uint32_t> leaves_at_token;
  std::optional<Duration> cancelled_after;  // by the operator
  core::CancelMode cancel_mode = core::CancelMode::kKill;
  std::optional<std::uint32_t> stops_reading_at;
  Duration stops_reading_for{};
  std::optional<Trap> trap;
  std::optional<LinkDraw> link;
  bool relayed_stream = false;  // relayed: byte by byte, not whole
};

/// What the client got.
struct Transcript {
  std::string text;
  int roles = 0, finishes = 0, usages = 0, terminals = 0, comments = 0;
  core::Finish finish = core::Finish::kNone;
  std::int64_t prompt_tokens = -1, completion_tokens = -1;
  std::uint32_t text_events = 0;
  std::string error;  // its code; empty: none
};

class ClientRun final : public core::RequestActions {
 public:
  ClientRun(Commons& commons, DataCore& core, RequestDraw draw, core::MigrationOptions options);
  ~ClientRun() override;
  ClientRun(const ClientRun&) = delete;
  ClientRun& operator=(const ClientRun&) = delete;

  void start();
  void on_view();
  void tick();
  void restart_clocks(Duration late);
  bool is_done() const { return started_ && machine_.is_done(); }
  bool has_started() const { return started_; }
  /// After the last event of the world.
  void check_end();
  std::int64_t charged_hedges() const;

  const core::RequestMachine& machine() const { return machine_; }
  const Transcript& transcript() const { return client_; }
  const RequestDraw& draw() const { return draw_; }
  bool is_gone() const { return gone_; }
  bool was_paused() const { return was_paused_; }
  bool was_cancelled() const { return cancelled_; }

  void open(const core::OpenAttempt& open) override;
  void cancel(core::AttemptId attempt) override;
  void report(std::size_t worker, core::Reason reason) override;
  void ask(core::Question question, std::size_t worker, std::uint32_t plan) override;
  void forward(core::AttemptId attempt) override;
  void say_role() override;
  void say(std::string_view text) override;
  void say_finish(core::Finish finish, std::string_view stop_string) override;
  void say_usage() override;
  void comment(std::string_view text) override;
  void discard() override;
  void complete() override;
  void relay_begin(core::AttemptId attempt) override;
  void relay_whole(core::AttemptId attempt) override;
  void fail(const core::ClientError& error) override;

 private:
  struct Open {
    std::shared_ptr<Stream> stream;
    std::size_t worker = 0;
    core::Mode mode = core::Mode::kFirst;
    int status = 0;
    bool paused = false;
    bool charged = false;      // a hedge that the budget must know of
    std::uint32_t deaths = 0;  // the worker's, then
    std::uint32_t arrivals = 0;
    bool bad_link = false;
    std::vector<Arrival> held;
  };

  Instant now() const { return commons_.schedule.now(); }
  static std::string describe(const OwnedEvent& event);
  void note(const std::string& what) const;
  void violation(const std::string& what) const;
  void receive(core::AttemptId attempt, Arrival arrival);
  void process(core::AttemptId attempt, const Arrival& arrival);
  void process_event(core::AttemptId attempt, const Arrival& arrival);
  void relay_event(core::AttemptId attempt, const OwnedEvent& event);
  void strike_link(Open& open, Arrival& arrival);
  bool is_streamed() const { return draw_.spec.stream || draw_.relayed_stream; }
  void client_stops_reading(core::AttemptId attempt);
  void client_reads_again();
  void client_leaves();
  void operator_cancels();
  void check_cancelled(std::string_view error);
  void spring(Trap::Phase phase, std::uint32_t token, std::size_t engine);
  void act(const Trap& trap, std::size_t engine);
  void settle();
  std::vector<TokenId> prompt_for(std::size_t engine) const;
  SequenceParams params_for(const core::OpenAttempt& open) const;
  const EngineModel::Answer& expected();
  void take_text(std::string_view text);
  void take_finish(core::Finish finish);
  void check_worker(std::size_t worker);
  void check_choice(std::size_t worker, core::Mode mode);
  // world_bounds.cpp: budgets, bounds and clocks
  bool is_live(const Open& open) const;
  std::size_t live_attempts() const;
  void check_placement(std::size_t worker, core::Mode mode);
  bool note_hedge(core::Mode mode, bool was_prepared);
  void check_retry(core::Mode mode, bool is_hedge);
  void note_failure(std::size_t worker, core::Reason reason);
  void check_view();
  void check_waiting();
  void check_complete();
  bool half_character_was_lost() const;
  void check_error(std::string_view code);
  bool clean_engine_was_there(bool must_be_ready) const;
  void end_once();

  Commons& commons_;
  DataCore& core_;
  RequestDraw draw_;
  core::MigrationOptions options_;
  core::RequestMachine machine_;
  Transcript client_;
  std::map<core::AttemptId, Open> open_;
  std::set<std::size_t> failed_;  // workers that failed this request
  const OwnedEvent* current_ = nullptr;
  core::AttemptId current_attempt_ = 0;
  std::size_t last_worker_ = 0;    // of the last event
  std::size_t origin_worker_ = 0;  // of the last event on the client's own endpoint
  std::map<std::uint64_t, EngineModel::Answer> expected_;
  std::uint32_t token_events_ = 0;
  int connections_lost_ = 0;
  int failures_ = 0;         // without a token since
  bool owes_retry_ = false;  // the next restart is charged
  std::map<std::size_t, Instant> refused_until_;
  Instant waiting_from_{};
  std::uint32_t attempts_then_ = 0;
  int traps_sprung_ = 0;
  Instant arrived_{};
  Instant done_at_{};
  bool cancelled_ = false;
  core::Finish finish_then_ = core::Finish::kNone;  // sent before the cancel
  bool started_ = false, gone_ = false, reading_ = true, was_paused_ = false;
  std::optional<std::uint32_t> asked_plan_;  // the resume that is being prepared
  bool same_worker_again_ = false;
  core::AttemptId relayed_ = 0;  // this attempt's bytes go to the client
  bool own_usage_ = false;
  bool by_text_ = false;  // it went on from its text: another sample
  bool unfillable_ = false, without_ids_ = false, wrong_ = false, merged_ = false;
};

}  // namespace hf::simulator
