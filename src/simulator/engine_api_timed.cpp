// The simulated engine's answers that take time and are no tokens of the model.
#include <algorithm>

#include "simulator/engine_api.hpp"
#include "simulator/json_text.hpp"
#include "simulator/other_answer.hpp"

namespace hf::simulator {

// Whole answers come after the time to a first token; pieces follow at the pace of tokens.
EngineOutput EngineApi::open_timed(std::uint64_t id, const EngineCall& call,
                                   const OtherAnswer& other) {
  Timed timed;
  timed.at = now_ + options_.engine.ttft;
  if (other.pieces.empty()) {
    timed.pieces.push_back(answer(id, other.page, call.keep_alive).bytes);
  } else {
    for (const auto& piece : other.pieces) append_chunk(timed.pieces.emplace_back(), piece);
    timed.pieces.front().insert(0, chunked_head(other.page.content_type, call.keep_alive));
    timed.pieces.back() += kLastChunk;
    timed.in_chunks = true;
  }
  timed_.emplace(id, std::move(timed));
  EngineOutput output;
  output.stream = id;
  return output;
}

Instant EngineApi::next_timed_at() const {
  if (dead_) return kNever;
  Instant at = kNever;
  for (const auto& [id, timed] : timed_) at = std::min(at, timed.at);
  return std::max(at, paused_until_);
}

void EngineApi::poll_timed(std::vector<EngineOutput>& out) {
  if (dead_ || now_ < paused_until_) return;
  for (auto it = timed_.begin(); it != timed_.end();) {
    Timed& timed = it->second;
    if (timed.at > now_) {
      ++it;
      continue;
    }
    EngineOutput output;
    output.stream = it->first;
    output.bytes = std::move(timed.pieces[timed.next++]);
    timed.at = now_ + options_.engine.itl;
    const bool ended = timed.next == timed.pieces.size();
    if (ended) output.end = StreamEnd::kDone;
    out.push_back(std::move(output));
    it = ended ? timed_.erase(it) : std::next(it);
  }
}

// Begun ones end in the middle, in order or not.
void EngineApi::end_timed(FaultKind kind) {
  for (const auto& [id, timed] : timed_) {
    EngineOutput output;
    output.stream = id;
    output.end = kind == FaultKind::kResetStreams ? StreamEnd::kReset : StreamEnd::kCut;
    if (kind != FaultKind::kResetStreams && timed.in_chunks && timed.next > 0) {
      if (kind == FaultKind::kHalfEvent) append_chunk(output.bytes, "data: {\"half\":");
      output.bytes += kLastChunk;
      output.end = StreamEnd::kDone;
    }
    ready_.push_back(std::move(output));
  }
  timed_.clear();
}

}  // namespace hf::simulator
