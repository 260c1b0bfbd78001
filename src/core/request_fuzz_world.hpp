// The world of request_fuzz_support.hpp: a router, a client that judges, and the inputs.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "core/request_fuzz_setup.hpp"

namespace hf::core::fuzz {

class World final : public RequestActions, public Router, private Setup {
 public:
  World(const std::uint8_t* bytes, std::size_t size) : Setup(bytes, size) {
    context_.view = &view_;
    context_.router = this;
    context_.retries = &retries_;
    context_.hedges = &hedges_;
    context_.random = &random_;
    context_.running_requests = 1;
    context_.first_token_p99 = std::chrono::milliseconds(100);
    context_.admission = &admission_;
    machine_ = std::make_unique<RequestMachine>(spec_, options_, context_, *this);
  }

  /// Empty, or the first rule that was broken.
  std::string run() {
    trace_ = std::getenv("HF_FUZZ_TRACE") != nullptr;
    input([&] { machine_->start(now_); });
    while (!draw_.is_empty() && !machine_->is_done() && broken_.empty()) step();
    for (int i = 0; i < 400 && !machine_->is_done() && broken_.empty(); ++i) let_it_end();
    must(machine_->is_done(), "a request does not end");
    for (int i = 0; i < 3 && broken_.empty(); ++i) stale_inputs();
    machine_.reset();
    at_rest();
    return broken_;
  }

  // RequestActions
  void open(const OpenAttempt& open) override {
    action();
    note("open", open.attempt, open.worker, open.mode, open.with_ids, open.stream, open.max_tokens);
    const auto& status = view_.workers[open.worker];
    must(open.attempt > last_attempt_, "an attempt's number is used again");
    must(status.model(open.model) != nullptr, "a worker is given a model that it does not serve");
    must(engines_.size() < 2, "more than two attempts at a time");
    must(open.max_tokens >= 0 && open.min_tokens >= 0, "a limit below zero");
    last_attempt_ = open.attempt;
    ++opened_;
    EngineSide side;
    side.id = open.attempt;
    side.worker = open.worker;
    side.mode = open.mode;
    side.with_ids = open.with_ids;
    side.streams = open.stream;
    side.answer = answers_[vocabulary(status)];
    side.limit = limit_of(side.answer);
    if (open.mode == Mode::kTokens) continue_tokens(side, open);
    if (open.mode == Mode::kText) continue_text(side, open);
    engines_.push_back(side);
  }
  void cancel(AttemptId id) override {
    action();
    note("cancel", id);
    const auto it = std::ranges::find(engines_, id, &EngineSide::id);
    must(it != engines_.end() || id == ended_, "an attempt that is not open is cancelled");
    if (it != engines_.end()) engines_.erase(it);
  }
  void report(std::size_t worker, Reason reason) override {
    action();
    must(worker < view_.workers.size() && reason != Reason::kNone, "a report of nothing");
  }
  void ask(Question question, std::size_t worker, std::uint32_t plan) override {
    action();
    note("ask", question, worker, plan);
    asked_ = Asked{question, worker, plan, {}, {}};
    if (question == Question::kText) {
      const auto ids = machine_->text_ids();
      asked_->ids.assign(ids.begin(), ids.end());
    } else if (question == Question::kFillGaps) {
      asked_->ids = machine_->ledger().ids();
    }
  }
  void forward(AttemptId id) override {
    action();
    note("forward", id);
    must(reported_ != nullptr && id == reporting_, "an event goes out that is not being reported");
    if (reported_ == nullptr) return;
    must(!std::exchange(went_out_, true), "an event goes out twice");
    if (reported_->kind == EventKind::kUsage) ++usages_;
    if (reported_->kind == EventKind::kRole) ++roles_;
    if (reported_->finish != Finish::kNone) note_finish(reported_->finish);
    if (reported_->kind == EventKind::kTokens) take(reported_->text);
  }
  void say_role() override {
    action();
    ++roles_;
  }
  void say(std::string_view text) override {
    action();
    note(("say " + std::string(text)).c_str());
    take(text);
  }
  void say_finish(Finish finish, std::string_view) override {
    action();
    note("say_finish", finish);
    note_finish(finish);
  }
  void say_usage() override {
    action();
    ++usages_;
  }
  void comment(std::string_view) override { action(); }
  void discard() override {
    action();
    must(!spec_.stream, "what a client has seen is declared void");
    text_.clear();
    finishes_ = usages_ = roles_ = 0;
  }
  void complete() override {
    end();
    note("complete");
    if (!spec_.relayed) judge_whole();
  }
  void relay_begin(AttemptId id) override {
    action();
    note("relay_begin", id);
    must(spec_.relayed && !std::exchange(relaying_, true), "an answer is relayed twice");
    must(id == reporting_, "bytes go out that are not being reported");
  }
  void relay_whole(AttemptId id) override {
    end();
    note("relay_whole", id);
    must(!spec_.stream || (text_.empty() && roles_ == 0), "a whole body after a part of a stream");
  }
  void fail(const ClientError& error) override {
    end();
    note(error.message.c_str(), error.status);
    must(error.status >= 400 && error.status < 600, "an error without a status of one");
    must(!error.code.empty() && !error.message.empty(), "an error that says nothing");
  }

  // Router: the first that fits, from a place that is drawn.
  std::optional<std::size_t> pick(const FleetView& view, const PickRequest& request) override {
    const auto count = view.workers.size();
    const auto first = draw_.below(count);
    for (const bool excluded_too : {false, true}) {
      for (std::size_t i = 0; i < count; ++i) {
        const auto& worker = view.workers[(first + i) % count];
        const auto listed = [&](std::span<const std::size_t> list) {
          return std::ranges::find(list, worker.index) != list.end();
        };
        const bool fits =
            takes_work(worker.state) && worker.model(request.model) != nullptr &&
            !listed(request.never) && (excluded_too || !listed(request.exclude)) &&
            (request.tokens_identity == 0 || worker.tokens_identity == request.tokens_identity) &&
            (!request.strict_identity || worker.exact_identity == request.exact_identity) &&
            (!request.suspect || worker.cells->suspects.load() == 0);
        if (fits) return worker.index;
      }
    }
    return std::nullopt;
  }

 private:
  struct Asked {
    Question question;
    std::size_t worker;
    std::uint32_t plan;
    std::vector<TokenId> ids;
    std::string text;
  };

  void must(bool holds, const char* rule) {
    if (!holds && broken_.empty()) {
      broken_ = std::string(rule) + " [" + (machine_ ? machine_->describe() : "gone") +
                "] client=" + text_;
    }
  }

  void continue_tokens(EngineSide& side, const OpenAttempt& open) {
    const auto carried = machine_->carried_ids();
    side.from = side.done = carried.size();
    side.said_role = true;
    if (open.max_tokens > 0) side.limit = static_cast<std::int64_t>(side.from) + open.max_tokens;
    if (!honest_) return;
    for (std::size_t i = 0; i < carried.size(); ++i) {
      must(carried[i] == side.answer.id(i), "a resume carries other ids than were generated");
    }
    must(side.limit == 0 || limit_of(side.answer) == 0 || side.limit == limit_of(side.answer),
         "a resume may write another number of tokens than is left");
    side.base_bytes = side.answer.text(side.from).size();
  }

  // Another sample, honest enough: it goes on with the right answer behind the text that it is
  // given.
  void continue_text(EngineSide& side, const OpenAttempt& open) {
    by_text_ = true;
    side.base_bytes = machine_->sent_text().size();
    while (side.done < side.answer.pieces.size() &&
           side.answer.text(side.done).size() < side.base_bytes) {
      ++side.done;
    }
    // Another vocabulary may go on from the text too: then nobody can say what is right.
    honest_ = honest_ && side.answer.text(side.done).starts_with(machine_->sent_text());
    side.from = side.done;
    side.limit = open.max_tokens > 0 ? static_cast<std::int64_t>(side.from) + open.max_tokens : 0;
  }

  template <class... Part>
  void note(const char* what, Part... part) {
    if (!trace_) return;
    std::fprintf(stderr, "  %s", what);
    (std::fprintf(stderr, " %lld", static_cast<long long>(part)), ...);
    std::fprintf(stderr, "   %s\n", machine_ ? machine_->describe().c_str() : "");
  }

  // The client.
  void action() { must(!ended_all_, "an action after the last one"); }
  void end() {
    action();
    must(!std::exchange(ended_all_, true), "a request ends twice");
    must(engines_.empty(), "an attempt outlives its request");
  }
  void note_finish(Finish finish) {
    ++finishes_;
    finish_ = finish;
    must(!honest_ || finishes_ <= 1, "two finish reasons");
  }
  void take(std::string_view text) {
    must(!honest_ || text.empty() || finishes_ == 0 || (reported_ != nullptr && finishes_ == 1),
         "text after the finish reason");
    text_ += text;
    if (!honest_) return;
    // What is held back for a stop string counts as produced once nobody waits for its rest.
    const bool right = std::ranges::any_of(answers_, [&](const Answer& answer) {
      return whole(answer, spec_, limit_of(answer)).text.starts_with(text_) ||
             ((cancelled_ || by_text_) && answer.text(answer.pieces.size()).starts_with(text_));
    });
    must(right, "the client reads what no engine wrote");
  }
  void judge_whole() {
    if (!honest_) return;
    must(finishes_ == 1, "an answer without its finish reason");
    must(!spec_.include_usage || !spec_.stream || usages_ == 1, "usage is not told once");
    must(roles_ <= 1, "two role chunks");
    if (cancelled_) return;
    for (const auto& answer : answers_) {
      const auto right = whole(answer, spec_, limit_of(answer));
      if (!right.text.starts_with(text_) || text_.empty() != right.text.empty()) continue;
      if (by_text_) return;  // another sample: its length is its own
      must(text_ == right.text, "an answer is short and looks whole");
      must(finish_ == right.finish, "another finish reason than the engine's");
      const bool counted = options_.tokens && spec_.tokens_allowed[0] && spec_.tokens_allowed[1];
      const auto more = machine_->completion_tokens() - right.tokens;
      // A stop string across the seam shows only when its engine releases the text.
      const bool may_lag = !spec_.stop.empty() && machine_->is_rebuilt();
      must(!counted || ids_refused_ || more == 0 || (more > 0 && may_lag),
           "usage counts other tokens than were generated");
    }
  }

  // The inputs.
  template <class Call>
  void input(Call call) {
    call();
    std::int64_t running = 0;
    for (const auto& worker : view_.workers) {
      running += worker.cells->running.load();
      must(worker.cells->prefill_owed.load() >= 0 && worker.cells->resume_prefill.load() >= 0 &&
               worker.cells->reading.load() >= 0 && worker.cells->suspects.load() >= 0,
           "a counter below zero");
    }
    must(std::cmp_equal(running, engines_.size()), "counters and open attempts differ");
    must(hedges_.running() >= 0 && hedges_.running() <= 2, "the budget of hedges is not kept");
    must(machine_->record().attempts == opened_, "attempts are not counted as they are opened");
    must(machine_->is_done() == ended_all_, "an end without a last action");
    must(admission_.waiting() == (machine_->is_queued() ? 1 : 0), "the queue counts wrong");
    if (honest_) {
      must(machine_->sent_text() == text_, "the record of the text is not the text");
    }
    const bool waits = machine_->deadline() == kNever && !machine_->is_done();
    const bool may_wait = machine_->state() == RequestMachine::State::kPreparing ||
                          std::ranges::any_of(engines_, &EngineSide::paused);
    must(!waits || may_wait, "it waits without a deadline");
  }

  // Nothing of an attempt that ends with this input may be reported any more.
  template <class Call>
  void last_input(std::size_t at, Call call) {
    const auto id = engines_[at].id;
    note("its last input", id);
    ended_ = id;
    engines_.erase(engines_.begin() + static_cast<std::ptrdiff_t>(at));
    input([&] { call(id); });
    ended_ = 0;
  }

  void give(AttemptId id, Event event) {
    const auto& meaning = event.seal();
    note(("event '" + event.text + "'").c_str(), id, meaning.kind, meaning.finish,
         meaning.completion_tokens, event.ids.empty() ? 0 : event.ids.back());
    reported_ = &meaning;
    reporting_ = id;
    went_out_ = false;
    if (meaning.kind == EventKind::kDone) {
      const auto at = std::ranges::find(engines_, id, &EngineSide::id) - engines_.begin();
      last_input(static_cast<std::size_t>(at),
                 [&](AttemptId its) { machine_->on_event(now_, its, meaning); });
    } else {
      input([&] { machine_->on_event(now_, id, meaning); });
    }
    reported_ = nullptr;
    reporting_ = 0;
  }

  void engine_speaks() {
    if (engines_.empty()) return;
    auto& side = engines_[draw_.below(engines_.size())];
    if (side.paused) return;
    if (spec_.relayed) {
      reporting_ = side.id;
      side.said_role = true;
      input([&] { machine_->on_bytes(now_, side.id); });
      reporting_ = 0;
    } else if (!side.streams) {
      last_input(static_cast<std::size_t>(&side - engines_.data()),
                 [&](AttemptId id) { machine_->on_whole(now_, id); });
    } else {
      auto event = side.next(spec_, draw_);
      if (!honest_ && !draw_.is_empty()) twist(event);
      give(side.id, std::move(event));
    }
  }

  // Any nonsense.
  void twist(Event& event) {
    switch (draw_.below(10)) {
      case 0: event.meaning.kind = static_cast<EventKind>(draw_.below(6)); break;
      case 1: event.meaning.finish = static_cast<Finish>(draw_.below(6)); break;
      case 2: event.meaning.completion_tokens += static_cast<int>(draw_.below(5)) - 2; break;
      case 3: event.meaning.prompt_tokens += static_cast<int>(draw_.below(5)) - 2; break;
      case 4: event.ids.push_back(static_cast<TokenId>(draw_.byte()) - 1); break;
      case 5: event.ids.clear(); break;
      case 6: event.text += static_cast<char>('a' + draw_.below(4)); break;
      case 7: event.meaning.plain = false; break;
      case 8: event.meaning.choices_ended = static_cast<int>(draw_.below(3)); break;
      default: break;
    }
  }

  void engine_breaks() {
    if (engines_.empty()) return;
    const auto at = draw_.below(engines_.size());
    static constexpr std::array kReasons = {
        Reason::kReset,    Reason::kConnect, Reason::kEarlyEnd,  Reason::kHttp5xx,
        Reason::kProtocol, Reason::kStall,   Reason::kOverloaded};
    switch (draw_.below(5)) {
      case 0: {
        const auto reason = kReasons[draw_.below(kReasons.size())];
        last_input(at, [&](AttemptId id) { machine_->on_failed(now_, id, reason); });
        break;
      }
      case 1: last_input(at, [&](AttemptId id) { machine_->on_end(now_, id); }); break;
      case 2: {
        if (engines_[at].shown > 0 || engines_[at].said_role) break;  // its head was a 200
        static constexpr std::array kStatus = {400, 404, 429, 500, 503, 302, 422};
        const auto status = kStatus[draw_.below(kStatus.size())];
        const auto after = std::chrono::seconds(draw_.below(4));
        ids_refused_ = true;
        last_input(at, [&](AttemptId id) { machine_->on_status(now_, id, status, after); });
        break;
      }
      default: {
        Event event;
        event.meaning.kind = draw_.one_in(2) ? EventKind::kError : EventKind::kTokens;
        if (event.meaning.kind == EventKind::kTokens) event.meaning.finish = Finish::kAbort;
        event.meaning.client_error = draw_.one_in(4);
        event.meaning.error_message = "no";
        give(engines_[at].id, std::move(event));
      }
    }
  }

  // What the tokenizer of that worker says, in time or late.
  void worker_answers(bool well) {
    if (!asked_) return;
    const Asked asked = draw_.one_in(12) ? *asked_ : *std::exchange(asked_, std::nullopt);
    const auto& answer = answers_[vocabulary(view_.workers[asked.worker])];
    std::vector<TokenId> ids;
    std::string text;
    if (asked.question == Question::kPromptIds) ids = kPrompt;
    if (asked.question == Question::kFillGaps) {
      for (std::size_t i = 0; i < asked.ids.size(); ++i) ids.push_back(answer.id(i));
    }
    if (asked.question == Question::kText) text = read(answer, asked.ids);
    if (!honest_ && draw_.one_in(4)) ids.resize(draw_.below(6));
    if (!honest_ && draw_.one_in(4)) text = text.substr(0, draw_.below(text.size() + 1)) + "a";
    const bool refused = draw_.one_in(2);
    note(("answer '" + text + "'").c_str(), asked.question, well, ids.size());
    if (well) {
      input([&] { machine_->on_answer(now_, asked.question, asked.plan, ids, text); });
    } else {
      input([&] { machine_->on_answer_failed(now_, asked.question, asked.plan, refused); });
    }
  }

  static std::string read(const Answer& answer, const std::vector<TokenId>& ids) {
    std::string text;
    for (const auto id : ids) {
      const auto place = static_cast<std::size_t>(id) - answer.identity * 1000;
      if (place < answer.pieces.size()) text += answer.pieces[place];
    }
    if (text.ends_with('\xC3')) text.replace(text.size() - 1, 1, "\xEF\xBF\xBD");
    return text;
  }

  void fleet_changes() {
    auto& worker = view_.workers[draw_.below(view_.workers.size())];
    static constexpr std::array kStates = {
        WorkerState::kReady,   WorkerState::kReady, WorkerState::kSuspect, WorkerState::kSlow,
        WorkerState::kEjected, WorkerState::kDead,  WorkerState::kRemoved};
    const auto state = kStates[draw_.below(kStates.size())];
    note("worker", worker.index, state);
    if (state == WorkerState::kDead && worker.state != state) ++worker.deaths;
    if (state == WorkerState::kReady) {
      worker.alive_at = now_;
      if (worker.state == WorkerState::kDead && draw_.one_in(3)) become(worker, draw_.below(2));
    }
    worker.state = state;
    input([&] { machine_->on_view(now_); });
  }

  // As a driver does, and it must not be woken for nothing.
  void tick() {
    for (int i = 0; i < 4; ++i) {
      if (machine_->is_done() || machine_->deadline() > now_) return;
      input([&] { machine_->tick(now_); });
    }
    must(machine_->is_done() || machine_->deadline() > now_, "it is woken again and again");
  }

  void time_passes() {
    const auto due = machine_->deadline();
    if (draw_.one_in(2) && due != kNever) {
      now_ = std::max(now_, due);
    } else {
      now_ += std::chrono::milliseconds(1 << draw_.below(14));
    }
    tick();
  }

  void step() {
    switch (draw_.below(26)) {
      case 0:
      case 1: engine_breaks(); break;
      case 2:
      case 3: fleet_changes(); break;
      case 4:
      case 5: time_passes(); break;
      case 6:
      case 7:
      case 8:
      case 9: worker_answers(true); break;
      case 10: worker_answers(false); break;
      case 11: pause(); break;
      case 12: input([&] { machine_->on_room(now_); }); break;
      case 13: input([&] { machine_->restart_clocks(now_, Duration::zero()); }); break;
      case 14: stale_inputs(); break;
      case 15: leave(); break;
      case 16:
        if (!engines_.empty()) input([&] { machine_->on_head(now_, engines_.front().id); });
        break;
      default: now_ += std::chrono::milliseconds(1); engine_speaks();
    }
  }

  void pause() {
    if (engines_.empty()) return;
    auto& side = engines_[draw_.below(engines_.size())];
    side.paused = !side.paused;
    const bool paused = side.paused;
    input([&] { machine_->on_paused(now_, side.id, paused); });
  }

  void leave() {
    if (draw_.below(8) != 7) return;
    cancelled_ = true;
    if (draw_.one_in(2)) {
      machine_->on_client_gone(now_);
      must(engines_.empty(), "an attempt outlives its client");
      ended_all_ = true;  // nobody is there to be told
      input([] {});
    } else {
      const auto mode = draw_.one_in(2) ? CancelMode::kKill : CancelMode::kStop;
      input([&] { machine_->on_cancel(now_, mode); });
      must(machine_->is_done(), "a cancelled request goes on");
    }
  }

  // Of attempts and questions that are over: nothing happens.
  void stale_inputs() {
    const AttemptId id = last_attempt_ + 1 + static_cast<AttemptId>(draw_.below(2));
    const auto before = machine_->describe();
    const auto text = text_;
    Event event;
    event.meaning.kind = EventKind::kTokens;
    event.text = "stale";
    event.ids = {1};
    for (const AttemptId stale : {id, ended_before_}) {
      if (std::ranges::find(engines_, stale, &EngineSide::id) != engines_.end()) continue;
      input([&] { machine_->on_event(now_, stale, event.seal()); });
      input([&] { machine_->on_end(now_, stale); });
      input([&] { machine_->on_whole(now_, stale); });
      input([&] { machine_->on_status(now_, stale, 500, {}); });
    }
    if (machine_->is_done()) {
      input([&] { machine_->on_view(now_); });
      input([&] { machine_->tick(now_ + std::chrono::hours(1)); });
      input([&] { machine_->on_cancel(now_, CancelMode::kKill); });
      input([&] { machine_->on_client_gone(now_); });
    }
    must(machine_->describe() == before && text_ == text, "what is over is listened to");
    ended_before_ = last_attempt_;
  }

  // No more faults of the fuzzer's: either everything works from here, or nothing does.
  void let_it_end() {
    if (spec_.prompt_tokens_estimate % 2 == 0) {
      for (auto& worker : view_.workers) {
        if (worker.state != WorkerState::kDead) ++worker.deaths;
        worker.state = WorkerState::kDead;
      }
      input([&] { machine_->on_view(now_); });
      if (machine_->is_done()) return;
    }
    for (auto& side : engines_) {
      if (!std::exchange(side.paused, false)) continue;
      input([&] { machine_->on_paused(now_, side.id, false); });
      return;
    }
    if (asked_ && machine_->state() == RequestMachine::State::kPreparing) {
      worker_answers(true);
      return;
    }
    if (engines_.empty() || spec_.relayed) {
      now_ = machine_->deadline() == kNever ? now_ : std::max(now_, machine_->deadline());
      tick();
      return;
    }
    now_ += std::chrono::milliseconds(1);
    engine_speaks();
  }

  void at_rest() {
    for (const auto& worker : view_.workers) {
      const auto& cells = *worker.cells;
      must(cells.running.load() == 0 && cells.reading.load() == 0 &&
               cells.prefill_owed.load() == 0 && cells.resume_prefill.load() == 0 &&
               cells.suspects.load() == 0,
           "a worker's counters are not given back");
    }
    must(hedges_.running() == 0, "a hedge's budget is not given back");
    must(admission_.waiting() == 0, "a place in the queue is not given back");
  }

  RetryBudget retries_{0.2, 10};
  HedgeBudget hedges_;
  AdmissionQueue admission_;
  Random random_{1};
  CoreContext context_;
  Instant now_ = Instant{} + std::chrono::hours(1);
  std::unique_ptr<RequestMachine> machine_;
  std::vector<EngineSide> engines_;
  std::optional<Asked> asked_;
  AttemptId last_attempt_ = 0;
  AttemptId ended_ = 0;         // by the input that is being given
  AttemptId ended_before_ = 0;  // an older one
  std::uint32_t opened_ = 0;

  std::string text_;  // what the client has
  int finishes_ = 0;
  int usages_ = 0;
  int roles_ = 0;
  Finish finish_ = Finish::kNone;
  bool relaying_ = false;
  bool ended_all_ = false;
  bool cancelled_ = false;
  bool by_text_ = false;
  bool ids_refused_ = false;
  const UpstreamEvent* reported_ = nullptr;
  AttemptId reporting_ = 0;
  bool went_out_ = false;
  bool trace_ = false;
  std::string broken_;
};

}  // namespace hf::core::fuzz
