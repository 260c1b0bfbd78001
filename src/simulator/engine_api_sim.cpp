// The simulated engine's own endpoints: faults and statistics.
#include <algorithm>

#include "simulator/engine_api.hpp"
#include "simulator/engine_dialect.hpp"
#include "simulator/json_text.hpp"

namespace hf::simulator {
namespace {

constexpr Duration kDyingVllmLives = std::chrono::seconds(2);

}  // namespace

EngineOutput EngineApi::sim(std::uint64_t id, const EngineCall& call, std::string_view path) {
  Page page;
  if (call.method == "GET" && path == "/sim/stats") {
    page.body = stats();
  } else if (call.method == "POST" && path == "/sim/fault") {
    const Result<Fault> fault = parse_fault(call.body);
    const bool applied = fault && apply(*fault);
    if (applied) {
      page.body = R"({"ok":true})";
    } else {
      page.status = 400;
      page.body = R"({"error":)";
      append_json_string(page.body, fault ? "this dialect cannot do that" : fault.error().detail);
      page.body += '}';
    }
  } else {
    page.status = 404;
    page.body = R"({"error":"not found"})";
  }
  return answer(id, page, call.keep_alive);
}

// False: the dialect has no such fault.
bool EngineApi::apply(const Fault& fault) {
  switch (fault.kind) {
    case FaultKind::kFreeze:
      frozen_until_ = fault.time == Duration{} ? kNever : now_ + fault.time;
      break;
    case FaultKind::kUnfreeze: frozen_until_ = now_; break;
    case FaultKind::kPause: paused_until_ = now_ + fault.time; break;
    case FaultKind::kSlow: model_.set_slow(fault.factor); break;
    case FaultKind::kWedge: model_.set_wedged(true); break;
    case FaultKind::kUnwedge: model_.set_wedged(false); break;
    case FaultKind::kDie:
      if (fault.after_tokens > 0) {
        death_ = fault.how;
        death_tokens_ = fault.after_tokens;
      } else {
        die(fault.how);
      }
      break;
    case FaultKind::kAbort:
      if (options_.engine.dialect != Dialect::kVllm) return false;
      events_.clear();
      model_.abort_all(events_);
      for (const TokenEvent& event : events_) take_event(event);
      break;
    case FaultKind::kEarlyEnd:
    case FaultKind::kHalfEvent:
    case FaultKind::kResetStreams: end_all(fault.kind); break;
    case FaultKind::kDropIds:
      drop_every_ = fault.every;
      drop_count_ = 0;
      break;
    case FaultKind::kStatus:
      refusal_ = fault;
      refusals_left_ = fault.count;
      break;
    case FaultKind::kClear:
      paused_until_ = now_;
      model_.set_slow(1);
      model_.set_wedged(false);
      drop_every_ = 0;
      refusals_left_ = 0;
      break;
  }
  hold_model();
  return true;
}

void EngineApi::hold_model() {
  model_.hold_until(std::max(frozen_until_, paused_until_));
}

void EngineApi::end_all(FaultKind kind) {
  end_timed(kind);
  while (!streams_.empty()) {
    ApiStream& stream = *streams_.begin()->second;
    if (kind == FaultKind::kResetStreams) {
      end_stream(stream, {}, StreamEnd::kReset);
    } else if (!stream.call.stream) {
      end_stream(stream, {}, StreamEnd::kCut);
    } else {
      std::string tail;
      if (kind == FaultKind::kHalfEvent) append_chunk(tail, stream.event_prefix);
      tail += kLastChunk;
      end_stream(stream, tail, StreamEnd::kDone);
    }
  }
}

void EngineApi::die(Death how) {
  switch (how) {
    case Death::kSigkill:
      halted_ = true;
      action_ = ProcessAction::kSigkill;
      break;
    case Death::kExit:
      halted_ = true;
      action_ = ProcessAction::kExit;
      break;
    case Death::kVllm: die_as_vllm(); break;
    case Death::kLlama:
      end_timed(FaultKind::kResetStreams);
      while (!streams_.empty()) end_stream(*streams_.begin()->second, {}, StreamEnd::kCut);
      halted_ = true;
      action_ = ProcessAction::kExit;
      break;
  }
}

// Recorded when vLLM's engine process is killed, and at SIGTERM: every stream gets the error in
// band, [DONE] and a clean end; the server lives on for about two seconds.
void EngineApi::die_as_vllm() {
  end_timed(FaultKind::kResetStreams);
  const std::unique_ptr<EngineDialect> vllm = make_vllm_dialect();
  while (!streams_.empty()) {
    ApiStream& stream = *streams_.begin()->second;
    if (stream.call.stream) {
      end_stream(stream, vllm->death_in_stream(), StreamEnd::kDone);
      continue;
    }
    const Page page = vllm->refusal(500);
    std::string whole;
    dialect_->head(whole, page, page.body.size(), stream.keep_alive, context());
    end_stream(stream, whole + page.body, StreamEnd::kDone);
  }
  model_.drop_all();
  dead_ = true;
  exit_at_ = now_ + kDyingVllmLives;
}

std::string EngineApi::stats() const {
  const EngineCounters c = model_.counters();
  std::string out = R"({"requests":)" + std::to_string(requests_) + R"(,"tokens":)" +
                    std::to_string(c.generated_tokens) + R"(,"aborted":)" +
                    std::to_string(c.aborted) + R"(,"running":)" +
                    std::to_string(static_cast<std::size_t>(c.running) + timed_.size()) +
                    R"(,"waiting":)" + std::to_string(c.waiting) + R"(,"connections":)" +
                    std::to_string(connections_) + R"(,"streams":)" +
                    std::to_string(streams_.size()) + R"(,"ttft_us":[)";
  for (const FirstToken& first : first_tokens_) {
    if (&first != &first_tokens_.front()) out += ',';
    out += R"({"request_id":)";
    append_json_string(out, first.request_id);
    out += R"(,"us":)" + std::to_string(first.us) + '}';
  }
  out += R"(],"gone_us":[)";
  for (const Instant& at : gone_at_) {
    if (&at != &gone_at_.front()) out += ',';
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(at - Instant{});
    out += std::to_string(us.count());
  }
  out += R"(],"request_ids":[)";
  for (const std::string& id : request_ids_) {
    if (&id != &request_ids_.front()) out += ',';
    append_json_string(out, id);
  }
  out += "]}";
  return out;
}

}  // namespace hf::simulator
