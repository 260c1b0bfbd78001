#include "simulator/world_request.hpp"

#include <algorithm>
#include <utility>

#include "core/planted.hpp"

namespace hf::simulator {
namespace {
using std::chrono::microseconds;
using std::chrono::milliseconds;
constexpr Duration kQuestionLimit = milliseconds(1000);
}  // namespace

ClientRun::ClientRun(Commons& commons, DataCore& core, RequestDraw draw,
                     core::MigrationOptions options)
    : commons_(commons),
      core_(core),
      draw_(std::move(draw)),
      options_(options),
      machine_(draw_.spec, options, core.context, *this) {}

ClientRun::~ClientRun() = default;

void ClientRun::note(const std::string& what) const {
  if (commons_.trace) commons_.trace("request " + std::to_string(draw_.number) + ": " + what);
}

void ClientRun::violation(const std::string& what) const {
  commons_.violation("request " + std::to_string(draw_.number) + ": " + what + " " +
                     machine_.describe());
}

void ClientRun::start() {
  started_ = true;
  arrived_ = now();
  waiting_from_ = arrived_;
  last_worker_ = 0;
  core_.open.push_back(this);
  if (draw_.cancelled_after) {
    commons_.schedule.after(*draw_.cancelled_after, [this] { operator_cancels(); });
  }
  if (draw_.leaves_after) commons_.schedule.after(*draw_.leaves_after, [this] { client_leaves(); });
  if (commons_.trace) {
    std::string line =
        draw_.spec.endpoint == core::Endpoint::kChat ? "arrives: chat" : "arrives: completions";
    line += " max " + std::to_string(draw_.params.max_tokens) + " min " +
            std::to_string(draw_.params.min_tokens);
    for (const auto& stop : draw_.params.stop) line += " stop \"" + stop + "\"";
    if (!draw_.greedy) line += " sampled";
    if (!draw_.spec.stream) line += " whole";
    if (draw_.opaque) line += " opaque";
    if (draw_.poison) line += " poison";
    note(line);
  }
  spring(Trap::Phase::kArrival, 0, 0);
  machine_.start(now());
  settle();
}

void ClientRun::on_view() {
  if (is_done()) return;
  machine_.on_view(now());
  check_view();
  settle();
}

void ClientRun::tick() {
  if (is_done()) return;
  if (machine_.state() == core::RequestMachine::State::kWaiting) machine_.on_room(now());
  if (!is_done() && machine_.deadline() <= now()) machine_.tick(now());
  check_waiting();
  settle();
}

void ClientRun::restart_clocks(Duration late) {
  waiting_from_ = std::min(now(), waiting_from_ + late);
  if (!is_done()) machine_.restart_clocks(now(), late);
}

// After each input: a request that is done leaves nothing behind.
void ClientRun::settle() {
  if (!is_done() || done_at_ != Instant{}) return;
  done_at_ = now();
  note("done " + machine_.describe());
  if (client_.terminals != 1 && !gone_) {
    violation("done with " + std::to_string(client_.terminals) + " ends");
  }
  for (const auto& [id, open] : open_) {
    if (!open.stream->closed && !open.stream->ended) {
      violation("attempt " + std::to_string(id) + " is open after the end");
    }
  }
  if (machine_.deadline() != kNever) violation("has a deadline after the end");
}

std::vector<TokenId> ClientRun::prompt_for(std::size_t engine) const {
  if (!draw_.spec.prompt_ids.empty()) return draw_.spec.prompt_ids;
  return commons_.engines[engine]->model().vocabulary().tokenize(draw_.prompt_text, true);
}

SequenceParams ClientRun::params_for(const core::OpenAttempt& open) const {
  const auto& engine = *commons_.engines[open.worker];
  const bool is_vllm = engine.traits().options.dialect == Dialect::kVllm;
  SequenceParams params = draw_.params;
  if (open.mode == core::Mode::kText) {
    params.prompt = engine.model().vocabulary().tokenize(
        draw_.prompt_text + std::string(machine_.sent_text()), true);
    params.max_tokens = static_cast<std::int32_t>(open.max_tokens);
    if (open.max_tokens == 0) params.max_tokens = is_vllm ? kVllmCompletionsLimit : -1;
    params.min_tokens = static_cast<std::int32_t>(open.min_tokens);
    return params;
  }
  if (open.mode != core::Mode::kTokens) {
    params.prompt = prompt_for(open.worker);
    if (params.max_tokens < 0 && is_vllm && draw_.spec.endpoint == core::Endpoint::kCompletions) {
      params.max_tokens = kVllmCompletionsLimit;
    }
    return params;
  }
  params.prompt = machine_.prompt_ids();
  const auto carried = machine_.carried_ids();
  params.prompt.insert(params.prompt.end(), carried.begin(), carried.end());
  if (core::is_planted(core::Planted::kResumeFromText)) {
    const auto& vocabulary = engine.model().vocabulary();
    params.prompt = vocabulary.tokenize(vocabulary.detokenize(params.prompt, true), true);
  }
  params.max_tokens = static_cast<std::int32_t>(open.max_tokens);
  if (open.max_tokens == 0) params.max_tokens = is_vllm ? kVllmCompletionsLimit : -1;
  params.min_tokens = static_cast<std::int32_t>(open.min_tokens);
  return params;
}

void ClientRun::open(const core::OpenAttempt& open) {
  check_worker(open.worker);
  // A resume was placed when its first question was asked.
  const bool was_prepared = asked_plan_.has_value();
  if (!was_prepared && !same_worker_again_) check_choice(open.worker, open.mode);
  if (!was_prepared) check_placement(open.worker, open.mode);
  asked_plan_.reset();
  const bool is_hedge = live_attempts() > 0;
  const bool is_charged = is_hedge && note_hedge(open.mode, was_prepared);
  check_retry(open.mode, is_hedge);
  if (is_done()) violation("opens an attempt after the end");
  note("opens " + std::to_string(open.attempt) + " at " + std::to_string(open.worker) + " by " +
       std::string(core::to_string(open.mode)) + ", carries " +
       std::to_string(open.mode == core::Mode::kTokens ? machine_.carried_ids().size() : 0));
  auto stream = std::make_shared<Stream>();
  stream->order = {.params = params_for(open),
                   .chat = draw_.spec.endpoint == core::Endpoint::kChat,
                   .stream = open.stream || draw_.relayed_stream,
                   .by_ids = open.mode == core::Mode::kTokens,
                   .with_ids = open.with_ids,
                   .include_usage = draw_.spec.include_usage,
                   .opaque = draw_.opaque,
                   .poison = draw_.poison};
  const bool is_own = open.mode != core::Mode::kTokens && open.mode != core::Mode::kText;
  if (is_own) without_ids_ = !open.with_ids;
  stream->link = commons_.schedule.between(microseconds(100), milliseconds(2));
  stream->arrive = [this, id = open.attempt](Arrival arrival) mutable {
    core_.frontend->run(
        [this, id, kept = std::move(arrival)]() mutable { receive(id, std::move(kept)); });
  };
  commons_.schedule.after(stream->link, [engine = commons_.engines[open.worker].get(), stream] {
    engine->accept(stream);
  });
  open_[open.attempt] = {.stream = stream,
                         .worker = open.worker,
                         .mode = open.mode,
                         .charged = is_charged,
                         .deaths = core_.context.view->workers[open.worker].deaths,
                         .bad_link = draw_.link && draw_.link->attempts-- > 0,
                         .held = {}};
  spring(open.mode == core::Mode::kTokens ? Trap::Phase::kResume : Trap::Phase::kOpen, 0,
         open.worker);
}

void ClientRun::cancel(core::AttemptId attempt) {
  const auto found = open_.find(attempt);
  if (found == open_.end()) {
    violation("cancels attempt " + std::to_string(attempt) + ", which is not open");
    return;
  }
  note("cancels " + std::to_string(attempt));
  // Of two that ran, the older one is dropped when its hedge has won.
  const bool lost_to_another = open_.rbegin()->first > attempt;
  if (lost_to_another) failed_.insert(found->second.worker);
  if (core_.context.view->workers[found->second.worker].state == core::WorkerState::kDead) {
    failed_.insert(found->second.worker);
    ++connections_lost_;
  }
  const auto stream = found->second.stream;
  stream->closed = true;
  stream->closed_at = now();
  if (!core::is_planted(core::Planted::kCancelNotSent)) {
    commons_.schedule.after(stream->link, [engine = commons_.engines[found->second.worker].get(),
                                           stream] { engine->hang_up(stream); });
  }
  open_.erase(found);
}

void ClientRun::ask(core::Question question, std::size_t worker, std::uint32_t plan) {
  if (asked_plan_ != plan) {
    check_worker(worker);
    check_choice(worker, core::Mode::kTokens);
    check_placement(worker, core::Mode::kTokens);
    if (live_attempts() > 0) note_hedge(core::Mode::kTokens, true);
  }
  asked_plan_ = plan;
  note("asks " + std::to_string(worker) + " question " +
       std::to_string(static_cast<int>(question)));
  auto& schedule = commons_.schedule;
  auto& engine = *commons_.engines[worker];
  std::vector<TokenId> ids(machine_.text_ids().begin(), machine_.text_ids().end());
  if (question == core::Question::kFillGaps) ids = machine_.ledger().ids();
  const auto gaps = machine_.ledger().gaps();
  // Whatever comes first answers the question: the engine, or its limit.
  const auto pending = std::make_shared<bool>(true);
  const auto failed = [this, question, plan, pending](bool refused) {
    core_.frontend->run([this, question, plan, pending, refused] {
      if (!std::exchange(*pending, false) || is_done()) return;
      machine_.on_answer_failed(now(), question, plan, refused);
      settle();
    });
  };
  const auto answer = [this, question, plan, worker, ids, gaps, pending, failed]() mutable {
    const auto& process = *commons_.engines[worker];
    const auto& vocabulary = process.model().vocabulary();
    std::string text;
    if (question == core::Question::kPromptIds) ids = prompt_for(worker);
    if (question == core::Question::kText) text = vocabulary.detokenize(ids, true);
    bool refused = false;
    if (question == core::Question::kFillGaps) {
      for (const auto& gap : gaps) {
        const auto found = vocabulary.tokenize(gap.text, false);
        refused =
            refused || found.size() != gap.count || found.back() != ids[gap.first + gap.count - 1];
        if (!refused)
          std::ranges::copy(found, ids.begin() + static_cast<std::ptrdiff_t>(gap.first));
      }
      unfillable_ = unfillable_ || refused;
    }
    if (process.is_dying() || refused) {
      commons_.schedule.after(microseconds(300), [failed, refused] { failed(refused); });
      return;
    }
    commons_.schedule.after(microseconds(300), [this, question, plan, ids, text, pending] {
      core_.frontend->run([this, question, plan, ids, text, pending] {
        if (!std::exchange(*pending, false) || is_done()) return;
        machine_.on_answer(now(), question, plan, ids, text);
        settle();
      });
    });
  };
  schedule.after(schedule.between(microseconds(200), milliseconds(5)), [&engine, answer, failed] {
    if (!engine.call(answer)) failed(false);
  });
  schedule.after(kQuestionLimit, [failed] { failed(false); });
  spring(Trap::Phase::kAsk, 0, worker);
}

// Bytes are here. While the client does not read, nothing is read for it.
// The engine's event as a trace line.
std::string ClientRun::describe(const OwnedEvent& event) {
  std::string line = " ids";
  for (const auto id : event.ids) line += " " + std::to_string(id);
  line += " \"" + event.text + "\" " + std::string(core::to_string(event.finish)) + " count " +
          std::to_string(event.completion_tokens);
  return line;
}

void ClientRun::receive(core::AttemptId attempt, Arrival arrival) {
  const auto found = open_.find(attempt);
  if (found == open_.end() || is_done()) return;
  strike_link(found->second, arrival);
  if (!reading_) {
    found->second.held.push_back(std::move(arrival));
    found->second.paused = true;
    machine_.on_paused(now(), attempt, true);
    return;
  }
  process(attempt, arrival);
}

void ClientRun::process(core::AttemptId attempt, const Arrival& arrival) {
  const auto found = open_.find(attempt);
  if (found == open_.end() || is_done()) return;
  const auto worker = found->second.worker;
  last_worker_ = worker;
  const auto mode = found->second.mode;
  if (mode != core::Mode::kTokens && mode != core::Mode::kText) origin_worker_ = worker;
  switch (arrival.kind) {
    case Arrival::Kind::kHead:
      machine_.on_head(now(), attempt);
      spring(Trap::Phase::kHead, 0, worker);
      break;
    case Arrival::Kind::kStatus:
      found->second.status = arrival.status;
      if (arrival.status == 429 || arrival.status == 503) {
        const auto wait =
            arrival.retry_after.count() > 0 ? arrival.retry_after : Duration(milliseconds(1'000));
        refused_until_[worker] = now() + wait;
      }
      if (arrival.status == 401 || arrival.status == 403 || arrival.status == 404)
        failed_.insert(worker);
      same_worker_again_ = arrival.status == 400;  // without our fields
      machine_.on_status(now(), attempt, arrival.status, arrival.retry_after);
      same_worker_again_ = false;
      break;
    case Arrival::Kind::kEvent:
    case Arrival::Kind::kWhole: {
      const auto before = client_.text_events;
      if (commons_.trace) note("event of " + std::to_string(attempt) + describe(arrival.event));
      current_ = &arrival.event;
      current_attempt_ = attempt;
      if (mode == core::Mode::kText && arrival.event.kind == core::EventKind::kTokens)
        by_text_ = true;
      process_event(attempt, arrival);
      current_ = nullptr;
      if (arrival.event.kind == core::EventKind::kTokens) failures_ = 0;
      if (arrival.event.kind == core::EventKind::kTokens)
        spring(Trap::Phase::kToken, ++token_events_, worker);
      if (arrival.event.finish == core::Finish::kStop ||
          arrival.event.finish == core::Finish::kLength) {
        core_.frontend->attempt_succeeded(worker);
      }
      if (arrival.event.finish != core::Finish::kNone) spring(Trap::Phase::kFinish, 0, worker);
      if (client_.text_events > before) client_stops_reading(attempt);
      break;
    }
    case Arrival::Kind::kEnd:
      if (draw_.relayed_stream && client_.finishes == 0) {
        machine_.on_failed(now(), attempt, core::Reason::kEarlyEnd);
      } else {
        machine_.on_end(now(), attempt);
      }
      break;
    case Arrival::Kind::kFailed: machine_.on_failed(now(), attempt, arrival.reason); break;
  }
  settle();
  if (draw_.leaves_at_token && client_.text_events >= *draw_.leaves_at_token) client_leaves();
}

void ClientRun::process_event(core::AttemptId attempt, const Arrival& arrival) {
  if (arrival.kind == Arrival::Kind::kWhole && arrival.event.finish == core::Finish::kAbort) {
    machine_.on_failed(now(), attempt, core::Reason::kAbort);  // half an answer, in order
  } else if (arrival.kind == Arrival::Kind::kWhole) {
    machine_.on_whole(now(), attempt);
  } else if (draw_.relayed_stream) {
    relay_event(attempt, arrival.event);
  } else {
    machine_.on_event(now(), attempt, arrival.event.view());
  }
}

// Its bytes are not read as tokens, only passed on.
void ClientRun::relay_event(core::AttemptId attempt, const OwnedEvent& event) {
  machine_.on_bytes(now(), attempt);
  if (relayed_ != attempt) {
    violation("bytes that do not go on");
    return;
  }
  take_text(event.text);
  if (event.finish != core::Finish::kAbort) take_finish(event.finish);
}

void ClientRun::strike_link(Open& open, Arrival& arrival) {
  if (!open.bad_link || open.arrivals++ != draw_.link->at) return;
  note(draw_.link->cut ? "its link is cut" : "its link is late from here on");
  if (draw_.link->cut) {
    arrival = {.kind = Arrival::Kind::kFailed, .reason = core::Reason::kReset, .event = {}};
  } else {
    open.stream->last_arrival = now() + draw_.link->late;
  }
}

// To the control core, over its mailbox.
void ClientRun::report(std::size_t worker, core::Reason reason) {
  note("worker " + std::to_string(worker) + " failed: " + std::string(core::to_string(reason)));
  failed_.insert(worker);
  note_failure(worker, reason);
  if (reason != core::Reason::kConnect && reason != core::Reason::kHttp5xx &&
      reason != core::Reason::kOverloaded && reason != core::Reason::kRefused) {
    ++connections_lost_;
  }
  commons_.schedule.after(
      microseconds(50), [this, worker, reason] { core_.frontend->attempt_failed(worker, reason); });
}

void ClientRun::client_stops_reading(core::AttemptId attempt) {
  if (!draw_.spec.stream || !draw_.stops_reading_at ||
      client_.text_events < *draw_.stops_reading_at || is_done())
    return;
  draw_.stops_reading_at.reset();
  reading_ = false;
  was_paused_ = true;
  note("client stops reading");
  if (const auto found = open_.find(attempt); found != open_.end()) found->second.paused = true;
  machine_.on_paused(now(), attempt, true);
  const bool runs = machine_.state() == core::RequestMachine::State::kRunning;
  if (runs && live_attempts() == 1 && open_.contains(attempt) && machine_.deadline() != kNever)
    violation("has a deadline while its client does not read");
  commons_.schedule.after(draw_.stops_reading_for,
                          [this] { core_.frontend->run([this] { client_reads_again(); }); });
}

void ClientRun::client_reads_again() {
  reading_ = true;
  if (is_done()) return;
  note("client reads again");
  std::vector<core::AttemptId> attempts;
  attempts.reserve(open_.size());
  for (const auto& [id, open] : open_) attempts.push_back(id);
  for (const auto id : attempts) {
    machine_.on_paused(now(), id, false);
    const auto found = open_.find(id);
    if (found == open_.end()) continue;
    found->second.paused = false;
    auto held = std::exchange(found->second.held, {});
    const bool may_merge =
        commons_.engines[found->second.worker]->traits().options.dialect == Dialect::kVllm;
    for (std::size_t i = 0; i < held.size(); ++i) {
      // vLLM joins what a slow reader left lying.
      auto& event = held[i].event;
      const auto joins = [](const Arrival& a) {
        return a.kind == Arrival::Kind::kEvent && a.event.kind == core::EventKind::kTokens &&
               a.event.plain;
      };
      if (may_merge && i + 1 < held.size() && joins(held[i]) && joins(held[i + 1]) &&
          event.finish == core::Finish::kNone && event.prompt_ids.empty()) {
        auto& next = held[i + 1].event;
        next.ids.insert(next.ids.begin(), event.ids.begin(), event.ids.end());
        next.text.insert(0, event.text);
        merged_ = true;
        continue;
      }
      process(id, held[i]);
    }
  }
}

void ClientRun::client_leaves() {
  if (is_done() || gone_) return;
  core_.frontend->run([this] {
    if (is_done()) return;
    gone_ = true;
    note("client leaves");
    machine_.on_client_gone(now());
    if (!machine_.is_done()) violation("goes on without a client");
    settle();
  });
}

void ClientRun::operator_cancels() {
  if (is_done() || gone_) return;
  core_.frontend->run([this] {
    if (is_done() || gone_) return;
    cancelled_ = true;
    finish_then_ = client_.finish;
    note("operator cancels");
    machine_.on_cancel(now(), draw_.cancel_mode);
    if (!machine_.is_done()) violation("goes on although it was cancelled");
    settle();
  });
}

void ClientRun::spring(Trap::Phase phase, std::uint32_t token, std::size_t engine) {
  auto& trap = draw_.trap;
  if (!trap || trap->phase != phase) return;
  if (trap->by_count ? machine_.ledger().size() < trap->token : trap->token != token) return;
  const auto sprung = *trap;
  ++traps_sprung_;
  if (--trap->times <= 0) trap.reset();
  commons_.schedule.after(sprung.delay, [this, sprung, engine] { act(sprung, engine); });
}

void ClientRun::act(const Trap& trap, std::size_t engine) {
  switch (trap.act) {
    case Trap::Act::kEngine:
      for (std::size_t i = 0; i < commons_.engines.size(); ++i) {
        const bool is_hit = trap.everywhere || i == engine;
        if (is_hit && commons_.is_protected != i)
          commons_.engines[i]->apply(trap.fault, trap.how_long);
      }
      return;
    case Trap::Act::kLeave: client_leaves(); return;
    case Trap::Act::kStop:
    case Trap::Act::kKill:
      draw_.cancel_mode =
          trap.act == Trap::Act::kStop ? core::CancelMode::kStop : core::CancelMode::kKill;
      operator_cancels();
      return;
    case Trap::Act::kPauseReading:
      draw_.stops_reading_at = 0;  // from its next text on
      draw_.stops_reading_for = trap.how_long;
      return;
    case Trap::Act::kPauseFrontend: core_.frontend->pause(trap.how_long); return;
  }
}

}  // namespace hf::simulator
