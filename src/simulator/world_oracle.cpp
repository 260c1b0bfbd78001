// The oracle of one request: what its client gets is compared with what an engine would have
// answered had nothing ever failed.
#include <algorithm>

#include "simulator/world_request.hpp"

namespace hf::simulator {
// The answer of the engine that began this one: a resume does not change it.
const EngineModel::Answer& ClientRun::expected() {
  const auto& engine = *commons_.engines[origin_worker_];
  const auto& options = engine.traits().options;
  const bool is_vllm = options.dialect == Dialect::kVllm;
  const auto key = options.variant * 2 + (is_vllm ? 1 : 0);
  const auto found = expected_.find(key);
  if (found != expected_.end()) return found->second;
  SequenceParams params = draw_.params;
  params.prompt = prompt_for(origin_worker_);
  if (params.max_tokens < 0 && is_vllm && draw_.spec.endpoint == core::Endpoint::kCompletions) {
    params.max_tokens = kVllmCompletionsLimit;
  }
  return expected_[key] = engine.model().expected(params);
}

void ClientRun::take_text(std::string_view text) {
  if (text.empty()) return;
  const auto at = client_.text.size();
  client_.text += text;
  ++client_.text_events;
  // One that is kept until it is whole may go on behind an end whose count was lost.
  if (client_.finishes > 0 && is_streamed()) violation("text after the finish reason");
  if (client_.terminals > 0) violation("text after the end");
  if (gone_) violation("text for a client that is gone");
  if (draw_.spec.endpoint == core::Endpoint::kChat && client_.roles == 0 && draw_.spec.stream) {
    violation("text before the role");
  }
  if (!draw_.greedy || wrong_ || by_text_) return;
  const auto& answer = expected();
  const auto& whole = is_streamed() ? answer.text : answer.whole_text;
  if (at + text.size() <= whole.size() && whole.compare(at, text.size(), text) == 0) return;
  wrong_ = true;
  violation("wrong text at byte " + std::to_string(at) + ": got \"" + std::string(text) +
            "\", expected \"" + whole.substr(std::min(at, whole.size()), text.size() + 8) + "\"");
}

void ClientRun::take_finish(core::Finish finish) {
  if (finish == core::Finish::kNone) return;
  client_.finish = finish;
  // One that is kept until it is whole has the last one.
  client_.finishes = is_streamed() ? client_.finishes + 1 : 1;
  if (client_.finishes > 1) violation("a second finish reason");
}

void ClientRun::forward(core::AttemptId attempt) {
  if (current_ == nullptr || current_attempt_ != attempt) {
    violation("forwards an event that is not being reported");
    return;
  }
  if (machine_.is_rebuilt()) violation("forwards into a stream of its own events");
  switch (current_->kind) {
    case core::EventKind::kRole: ++client_.roles; break;
    case core::EventKind::kTokens:
      take_text(current_->text);
      take_finish(current_->finish);
      break;
    case core::EventKind::kUsage:
      if (!draw_.spec.include_usage) break;  // only we asked for it: the reader drops it
      ++client_.usages;
      client_.prompt_tokens = current_->prompt_tokens;
      client_.completion_tokens = current_->completion_tokens;
      break;
    case core::EventKind::kError:
    case core::EventKind::kDone:
    case core::EventKind::kOther: violation("forwards what is no answer"); break;
  }
}

void ClientRun::say_role() {
  ++client_.roles;
}

void ClientRun::say(std::string_view text) {
  take_text(text);
}

void ClientRun::say_finish(core::Finish finish, std::string_view /*stop_string*/) {
  take_finish(finish);
}

void ClientRun::say_usage() {
  own_usage_ = true;
  ++client_.usages;
  client_.prompt_tokens = machine_.prompt_tokens();
  client_.completion_tokens = machine_.completion_tokens();
}

void ClientRun::comment(std::string_view /*text*/) {
  ++client_.comments;
  if (!machine_.has_sent()) violation("a comment before the head");
}

void ClientRun::end_once() {
  if (++client_.terminals > 1) violation("ends twice");
  if (gone_) violation("ends for a client that is gone");
}

void ClientRun::discard() {
  if (draw_.spec.stream) violation("discards what was sent");
  client_.text.clear();
  client_.roles = client_.finishes = client_.usages = 0;
}

void ClientRun::complete() {
  end_once();
  if (!is_streamed()) client_.text = machine_.sent_text();
  note("complete");
  cancelled_ ? check_cancelled({}) : check_complete();
}

// Its text was compared as it came: here only how it ends.
void ClientRun::check_cancelled(std::string_view error) {
  const bool finished = finish_then_ != core::Finish::kNone;
  if (draw_.cancel_mode == core::CancelMode::kKill || !error.empty()) {
    if (error != "cancelled") violation("killed, but ends with \"" + std::string(error) + "\"");
    const bool had_text = !client_.text.empty() && draw_.spec.stream && !draw_.opaque;
    if (draw_.cancel_mode == core::CancelMode::kStop && had_text)
      violation("stopped, but what was produced did not stay");
    if (!finished && client_.finishes > 0) violation("killed with a finish reason");
    return;
  }
  if (client_.finishes != 1) violation("stopped without a finish reason");
  if (!finished && client_.finish != core::Finish::kStop) violation("stopped by another name");
  if (client_.usages != (draw_.spec.include_usage ? 1 : 0)) violation("stopped without usage");
}

// Only llama.cpp shows a half character at the end of a whole answer; another kind that went on for
// it does not tell that there was one.
bool ClientRun::half_character_was_lost() const {
  const auto dialect = [&](std::size_t engine) {
    return commons_.engines[engine]->traits().options.dialect;
  };
  return !draw_.spec.stream && dialect(origin_worker_) != dialect(last_worker_);
}

void ClientRun::check_complete() {
  if (client_.finishes != 1) violation("complete without a finish reason");
  if (client_.roles > 1) violation("a second role");
  if (!draw_.greedy || by_text_) return;
  const auto& answer = expected();
  // Known and accepted (once in some million requests): at the very limit llama.cpp drops what it
  // holds back, so a stop string that ended there, across a break, was never shown to anybody.
  const bool hidden_stop =
      machine_.is_rebuilt() && client_.finish == core::Finish::kLength &&
      answer.stop_kind == StopKind::kWord &&
      std::cmp_equal(answer.ids.size(), draw_.spec.max_tokens.value_or(0)) &&
      commons_.engines[last_worker_]->traits().options.dialect == Dialect::kLlama;
  if (hidden_stop) return;
  const auto& text = is_streamed() ? answer.text : answer.whole_text;
  if (client_.text.size() < text.size() && !half_character_was_lost()) {
    violation("short: " + std::to_string(client_.text.size()) + " of " +
              std::to_string(text.size()) + " bytes; missing \"" +
              text.substr(client_.text.size(), 40) + "\"");
  }
  if (!draw_.spec.stream && !text.starts_with(client_.text)) {
    violation("another whole text: \"" + client_.text + "\" instead of \"" + text + "\"");
  }
  const auto finish =
      answer.finish == Finish::kLength ? core::Finish::kLength : core::Finish::kStop;
  if (client_.finish != finish) {
    violation("finish reason " + std::string(core::to_string(client_.finish)) + " instead of " +
              std::string(core::to_string(finish)));
  }
  if (!draw_.spec.stream) return;
  if (client_.usages != (draw_.spec.include_usage ? 1 : 0)) {
    violation(std::to_string(client_.usages) + " usages");
  }
  if (client_.usages == 0) return;
  // llama.cpp's chat tells no id of its end, and its count only after it; what cannot be continued
  // is not counted at all.
  const bool untold =
      own_usage_ && (draw_.opaque ||
                     (draw_.spec.endpoint == core::Endpoint::kChat &&
                      commons_.engines[last_worker_]->traits().options.dialect == Dialect::kLlama));
  if (client_.prompt_tokens < 0 || client_.completion_tokens < (untold ? 0 : 1))
    violation("usage without counts");
  if (without_ids_) return;  // nobody counted: estimates will do
  const auto prompt = static_cast<std::int64_t>(prompt_for(last_worker_).size());
  const auto tokens = static_cast<std::int64_t>(answer.ids.size());
  // A resumed engine holds text back for stop strings, so we see one across the break some ids
  // late.
  const bool late = machine_.is_rebuilt() && !draw_.params.stop.empty();
  const auto more = client_.completion_tokens - tokens;
  if (client_.prompt_tokens != prompt || (more < 0 && !untold) ||
      (more > (late ? 32 : 0) && !merged_)) {
    violation("usage " + std::to_string(client_.prompt_tokens) + "+" +
              std::to_string(client_.completion_tokens) + " instead of " + std::to_string(prompt) +
              "+" + std::to_string(tokens));
  }
}

void ClientRun::relay_begin(core::AttemptId attempt) {
  relayed_ = attempt;
  if (!draw_.relayed_stream) violation("an answer of tokens goes on as bytes");
}

void ClientRun::relay_whole(core::AttemptId attempt) {
  const auto found = open_.find(attempt);
  if (current_ != nullptr && current_attempt_ == attempt) {
    note("relays the whole answer");
    take_text(current_->text);
    take_finish(current_->finish);
    end_once();
    check_complete();
    return;
  }
  end_once();
  const auto status = found == open_.end() ? 0 : found->second.status;
  client_.error = "relayed_" + std::to_string(status);
  note("relays status " + std::to_string(status));
  check_error(client_.error);
}

void ClientRun::fail(const core::ClientError& error) {
  end_once();
  client_.error = error.code;
  note("fails: " + error.code + ": " + error.message);
  if (error.code.empty() || error.message.empty() || error.status < 400)
    violation("an error without a name");
  cancelled_ ? check_cancelled(error.code) : check_error(error.code);
}

// An engine that nothing ever happened to while this request was open, and that could have taken
// it.
bool ClientRun::clean_engine_was_there(bool must_be_ready) const {
  const auto& origin = commons_.engines[last_worker_]->traits();
  for (std::size_t i = 0; i < commons_.engines.size(); ++i) {
    const auto& engine = *commons_.engines[i];
    const auto& traits = engine.traits();
    const auto since = engine.clean_since();
    if (since == kNever || since + std::chrono::seconds(2) > arrived_) continue;
    if (traits.unauthorized || traits.refuses_ids) continue;
    const auto listed = core_.frontend->listed_since(i);
    if (listed == kNever || (listed != Instant{} && listed + std::chrono::seconds(2) > arrived_))
      continue;
    // Paced, or kept for another suspect: it waits its turn.
    const auto& status = core_.context.view->workers[i];
    // Silent for another reason than we know of (a queue, slow prefill): no new work by contract.
    if (status.state == core::WorkerState::kSuspect) continue;
    if (status.state == core::WorkerState::kRemoved) continue;  // as far as it was told
    if (must_be_ready && status.state != core::WorkerState::kReady) continue;
    const auto& cells = *status.cells;
    if (cells.resume_prefill.load() != 0 || cells.suspects.load() != 0) continue;
    const bool bound = !client_.text.empty();
    if (bound && traits.options.variant != origin.options.variant) continue;
    // An answer that was written again from an earlier place can go on at the same build only.
    const bool rewound = origin.options.dialect == Dialect::kLlama && !draw_.params.stop.empty();
    if (bound && (options_.strict_identity || rewound) &&
        (traits.build != origin.build || traits.options.dialect != origin.options.dialect)) {
      continue;
    }
    return true;
  }
  return false;
}

void ClientRun::check_error(std::string_view code) {
  if (draw_.poison) return;  // its kind of end is checked at the end of the world
  if (draw_.spec.model != "sim") {
    if (code != "model_not_found" && code != "no_worker")
      violation("unknown model, but " + std::string(code));
    return;
  }
  const bool started = !client_.text.empty();
  const bool cannot = (started && (draw_.opaque || without_ids_ || !options_.tokens)) ||
                      unfillable_ || (!started && !options_.restart) || by_text_ ||
                      (draw_.spec.relayed && (machine_.has_sent() || !draw_.spec.repeatable)) ||
                      // Only its own engine knows from where on a stop string counts.
                      (started && draw_.params.min_tokens > 0 && !draw_.params.stop.empty());
  if (cannot) return;
  // Known: another one's credentials are not asked for again where it failed this request.
  const bool is_refusal = code.starts_with("relayed_4") || code == "engine_refused";
  if (is_refusal && failed_.size() > 1) return;
  // Not poison, but it was there whenever an engine died or hung.
  const bool unlucky = code == "poison_suspected" && (connections_lost_ >= options_.poison_deaths ||
                                                      traps_sprung_ >= options_.poison_deaths);
  // What an engine says of its credentials is passed on unless another one is ready just then.
  const bool relayed = code.starts_with("relayed_4");
  // Nor does a full queue wait until an engine that is back was found.
  if (!unlucky && clean_engine_was_there(relayed || code == "queue_full"))
    violation("error " + std::string(code) + " although an engine was there");
  if (code == "no_worker" && !started && now() - arrived_ < std::chrono::milliseconds(20)) {
    violation("no_worker without waiting");
  }
}

void ClientRun::check_worker(std::size_t worker) {
  const auto& chosen = core_.context.view->workers[worker];
  if (!core::takes_work(chosen.state)) {
    violation("new work for a worker that is " + std::string(core::to_string(chosen.state)));
  }
  for (const auto& [id, other] : open_) {
    if (!other.stream->closed && !other.stream->ended && other.worker == worker) {
      violation("two attempts at one worker");
    }
  }
}

// One that failed it gets it again only where nobody else could; a slow one likewise.
void ClientRun::check_choice(std::size_t worker, core::Mode mode) {
  const auto& workers = core_.context.view->workers;
  const auto& chosen = workers[worker];
  const bool is_slow = chosen.state == core::WorkerState::kSlow;
  if (!failed_.contains(worker) && !is_slow) return;
  for (const auto& other : workers) {
    if (other.state != core::WorkerState::kReady || failed_.contains(other.index)) continue;
    if (other.model(draw_.spec.model) == nullptr) continue;
    if (other.cells->resume_prefill.load() != 0 || other.cells->suspects.load() != 0) continue;
    const bool same = options_.strict_identity ? other.exact_identity == chosen.exact_identity
                                               : other.tokens_identity == chosen.tokens_identity;
    if (mode == core::Mode::kTokens && !same) continue;
    if (is_slow && other.exact_identity != chosen.exact_identity) continue;
    violation("worker " + std::to_string(worker) +
              (is_slow ? " is slow, worker " : " failed it before, worker ") +
              std::to_string(other.index) + " did not");
    return;
  }
}

void ClientRun::check_end() {
  if (!started_) return;
  if (!is_done()) {
    violation("never ends");
    return;
  }
  if (gone_ || !client_.error.empty() || draw_.greedy || !draw_.spec.stream || by_text_) return;
  // Sampled: any answer will do, but its text must be what its ids read as.
  if (machine_.ledger().intact() && machine_.ledger().gaps().empty() &&
      machine_.ledger().size() > 0 && draw_.spec.stop.empty()) {
    const auto& vocabulary = commons_.engines[last_worker_]->model().vocabulary();
    const auto text = vocabulary.detokenize(machine_.ledger().ids());
    if (!text.starts_with(client_.text)) violation("text is not what its ids read as");
  }
}

}  // namespace hf::simulator
