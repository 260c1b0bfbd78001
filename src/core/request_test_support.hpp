// What the tests of RequestMachine share: workers in a view, a router that takes the first that
// fits, and a recorder of actions, one short line each.
#pragma once

#include <algorithm>
#include <chrono>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/request_machine.hpp"

namespace hf::core {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Log = std::vector<std::string>;

inline constexpr TokenId kEos = 2;

class FirstFit final : public Router {
 public:
  std::optional<std::size_t> pick(const FleetView& view, const PickRequest& request) override {
    last = request;
    for (const bool excluded_too : {false, true}) {
      for (const auto& worker : view.workers) {
        if (worker.state != WorkerState::kReady || worker.model(request.model) == nullptr) continue;
        if (std::ranges::find(request.never, worker.index) != request.never.end()) continue;
        const bool excluded =
            std::ranges::find(request.exclude, worker.index) != request.exclude.end();
        if (excluded && !excluded_too) continue;
        if (request.tokens_identity != 0 && worker.tokens_identity != request.tokens_identity)
          continue;
        if (request.strict_identity && worker.exact_identity != request.exact_identity) continue;
        if (request.suspect && worker.cells->suspects.load() != 0) continue;
        if (full && request.continuation) continue;
        if (const auto length = worker.model(request.model)->max_len;
            length > 0 && length <= request.length_min)
          continue;
        return worker.index;
      }
    }
    return std::nullopt;
  }
  PickRequest last;   // its spans are not valid any more
  bool full = false;  // no room for continuations
};

class Recorder final : public RequestActions {
 public:
  void open(const OpenAttempt& open) override {
    std::string line = "open " + std::to_string(open.attempt) + "@" + std::to_string(open.worker) +
                       " " + std::string(to_string(open.mode));
    if (open.model != machine->spec().model) line += " of " + std::string(open.model);
    if (open.mode == Mode::kText) {
      line += " " + std::string(machine->sent_text());
      line += " max " + std::to_string(open.max_tokens);
    } else if (open.mode != Mode::kTokens) {
      line += !open.stream ? " whole" : open.with_ids ? " ids" : " plain";
    } else {
      line += " carry";
      for (const auto id : machine->carried_ids()) line += " " + std::to_string(id);
      line += " max " + std::to_string(open.max_tokens);
      if (open.min_tokens > 0) line += " min " + std::to_string(open.min_tokens);
      if (!open.exact) line += " approximate";
    }
    log.push_back(line);
  }
  void cancel(AttemptId attempt) override { log.push_back("cancel " + std::to_string(attempt)); }
  void report(std::size_t worker, Reason reason) override {
    log.push_back("report " + std::to_string(worker) + " " + std::string(to_string(reason)));
  }
  void ask(Question question, std::size_t worker, std::uint32_t its_plan) override {
    plan = its_plan;
    std::string line = question == Question::kPromptIds  ? "ask prompt_ids "
                       : question == Question::kFillGaps ? "ask fill "
                                                         : "ask text ";
    line += std::to_string(worker);
    if (question == Question::kText) {
      for (const auto id : machine->text_ids()) line += " " + std::to_string(id);
    }
    log.push_back(line);
  }
  void forward(AttemptId attempt) override { log.push_back("forward " + std::to_string(attempt)); }
  void say_role() override { log.push_back("role"); }
  void say(std::string_view text) override { log.push_back("say " + std::string(text)); }
  void say_finish(Finish finish, std::string_view stop) override {
    log.push_back("finish " + std::string(to_string(finish)) +
                  (stop.empty() ? "" : " at " + std::string(stop)));
  }
  void say_usage() override {
    log.push_back("usage " + std::to_string(machine->prompt_tokens()) + "+" +
                  std::to_string(machine->completion_tokens()));
  }
  void comment(std::string_view text) override { log.push_back("comment " + std::string(text)); }
  void discard() override { log.push_back("discard"); }
  void complete() override { log.push_back("complete"); }
  void relay_begin(AttemptId attempt) override {
    log.push_back("begin " + std::to_string(attempt));
  }
  void relay_whole(AttemptId attempt) override {
    log.push_back("relay " + std::to_string(attempt));
  }
  void fail(const ClientError& error) override {
    last_error = error;
    log.push_back("fail " + std::to_string(error.status) + " " + error.code);
  }

  const RequestMachine* machine = nullptr;
  Log log;
  std::uint32_t plan = 0;
  ClientError last_error;
};

/// A request, its fleet and its clock. Workers 0 … n-1 are ready, of one build, and serve "m".
class Bench {
 public:
  explicit Bench(std::size_t workers = 2) {
    for (std::size_t i = 0; i < workers; ++i) add_worker();
    spec.model = "m";
    spec.tokens_allowed = {true, true};
    spec.adds_fields = {true, true};
    spec.default_max = {16, 0};
    spec.max_tokens = 10;
    spec.prompt_tokens_estimate = 3;
  }
  ~Bench() {
    machine_.reset();
    for (const auto& worker : view.workers) {
      EXPECT_EQ(worker.cells->running.load(), 0) << "worker " << worker.index;
      EXPECT_EQ(worker.cells->reading.load(), 0) << "worker " << worker.index;
      EXPECT_EQ(worker.cells->prefill_owed.load(), 0) << "worker " << worker.index;
      EXPECT_EQ(worker.cells->resume_prefill.load(), 0) << "worker " << worker.index;
      EXPECT_EQ(worker.cells->suspects.load(), 0) << "worker " << worker.index;
    }
    EXPECT_EQ(hedges.running(), 0);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  WorkerStatus& add_worker() {
    WorkerStatus worker;
    worker.index = view.workers.size();
    worker.state = WorkerState::kReady;
    worker.models = {{"m", 100}};
    worker.tokens_identity = 7;
    worker.exact_identity = 70;
    worker.eos_ids = {kEos};
    worker.cells = std::make_shared<WorkerCells>();
    view.workers.push_back(std::move(worker));
    return view.workers.back();
  }

  RequestMachine& start() {
    context = {.view = &view,
               .router = &router,
               .retries = &retries,
               .hedges = &hedges,
               .random = &random,
               .running_requests = 1,
               .first_token_p99 = milliseconds(100),
               .admission = admission,
               .retries_refused = 0,
               .hedges_refused = 0};
    machine_ = std::make_unique<RequestMachine>(spec, options, context, actions);
    actions.machine = machine_.get();
    machine_->start(now);
    return *machine_;
  }
  RequestMachine& machine() { return *machine_; }
  WorkerCells& cells(std::size_t index) { return *view.workers[index].cells; }

  /// The actions since the last call.
  Log log() { return std::exchange(actions.log, {}); }

  void pass(Duration time) { now += time; }
  /// Lets time go by as a driver does: tick() whenever it is due, at most every millisecond.
  void run(Duration time) {
    const auto until = now + time;
    while (!machine_->is_done() && machine_->deadline() <= until) {
      now = std::max(now + milliseconds(1), machine_->deadline());
      if (now > until) break;
      for (auto& worker : view.workers) {
        if (probes_answered) worker.alive_at = now;
      }
      machine_->tick(now);
    }
    now = std::max(now, until);
  }

  // What an engine sends. Counts are those of the attempt, as engines give them.
  void role(AttemptId attempt, std::vector<TokenId> prompt_ids = {11, 12, 13}) {
    UpstreamEvent event;
    event.kind = EventKind::kRole;
    event.prompt_ids = prompt_ids;
    event.prompt_tokens = 3;
    machine_->on_event(now, attempt, event);
  }
  struct Token {
    std::vector<TokenId> ids;
    std::string text;
    std::int64_t count = -1;
    Finish finish = Finish::kNone;
    std::int64_t prompt = 3;
    bool plain = true;
    bool with_prompt_ids = true;
  };
  void token(AttemptId attempt, const Token& token) {
    const std::vector<TokenId> prompt_ids = {11, 12, 13};
    UpstreamEvent event;
    event.kind = EventKind::kTokens;
    event.ids = token.ids;
    event.text = token.text;
    event.completion_tokens = token.count;
    event.prompt_tokens = token.prompt;
    event.finish = token.finish;
    event.plain = token.plain;
    if (token.with_prompt_ids && token.prompt == 3) event.prompt_ids = prompt_ids;
    machine_->on_event(now, attempt, event);
  }
  void event(AttemptId attempt, EventKind kind, std::int64_t count = -1) {
    UpstreamEvent event;
    event.kind = kind;
    event.completion_tokens = count;
    if (kind == EventKind::kUsage) event.prompt_tokens = 3;
    machine_->on_event(now, attempt, event);
  }
  void failed(AttemptId attempt, Reason reason = Reason::kReset) {
    machine_->on_failed(now, attempt, reason);
  }
  void answer_ids(Question question, std::vector<TokenId> ids) {
    machine_->on_answer(now, question, actions.plan, ids, {});
  }
  void answer_text(std::string_view text) {
    machine_->on_answer(now, Question::kText, actions.plan, {}, text);
  }
  void no_answer(Question question, bool refused) {
    machine_->on_answer_failed(now, question, actions.plan, refused);
  }
  void set_state(std::size_t index, WorkerState state) {
    auto& worker = view.workers[index];
    if (state == WorkerState::kDead && worker.state != WorkerState::kDead) ++worker.deaths;
    if (state == WorkerState::kReady) worker.alive_at = now;
    worker.state = state;
    machine_->on_view(now);
  }
  /// Three tokens "a" "b" "c" (ids 21 22 23) from attempt 1.
  void three_tokens() {
    token(1, {.ids = {21}, .text = "a", .count = 1});
    token(1, {.ids = {22}, .text = "b", .count = 2});
    token(1, {.ids = {23}, .text = "c", .count = 3});
  }

  FleetView view;
  FirstFit router;
  RetryBudget retries{0.2, 10};
  HedgeBudget hedges;
  AdmissionQueue* admission = nullptr;
  Random random{1};
  CoreContext context;
  Recorder actions;
  RequestSpec spec;
  MigrationOptions options;
  Instant now = Instant{} + std::chrono::hours(1);
  bool probes_answered = false;  // while run() lets time go by

 private:
  std::unique_ptr<RequestMachine> machine_;
};

}  // namespace hf::core
