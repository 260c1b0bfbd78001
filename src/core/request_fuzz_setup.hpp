// What a world of request_fuzz_support.hpp is made of: answers, workers, a request.
#pragma once

#include <array>

#include "core/request_fuzz_support.hpp"

namespace hf::core::fuzz {

class Setup {
 protected:
  Setup(const std::uint8_t* bytes, std::size_t size) : draw_(bytes, size) {
    honest_ = draw_.below(4) != 0;
    make_answers();
    make_workers();
    make_spec();
  }

  void make_answers() {
    const bool halves = draw_.one_in(3);
    for (std::size_t v = 0; v < answers_.size(); ++v) {
      answers_[v].identity = 7 + v;
      answers_[v].kind = static_cast<int>(draw_.below(2));
      auto& pieces = answers_[v].pieces;
      pieces = {v == 0 ? "x" : "y"};  // so that two answers are never the same
      for (auto left = draw_.below(12); left > 0; --left) {
        static constexpr std::array<const char*, 5> kPieces = {"a", "b", "ab", " c", "\xC3"};
        const auto chosen = draw_.below(halves ? 5 : 4);
        pieces.emplace_back(kPieces[chosen]);
        if (chosen == 4) pieces.emplace_back("\xA9");
      }
      halves_ = halves;
    }
  }

  void make_workers() {
    const auto count = 1 + draw_.below(4);
    for (std::size_t i = 0; i < count; ++i) {
      WorkerStatus worker;
      worker.index = i;
      worker.state = WorkerState::kReady;
      worker.cells = std::make_shared<WorkerCells>();
      become(worker, draw_.one_in(6) ? 1 : 0);
      view_.workers.push_back(std::move(worker));
    }
  }

  // What runs under this name: a model with its vocabulary, of one of two builds.
  void become(WorkerStatus& worker, std::size_t vocabulary) {
    const auto& answer = answers_[vocabulary];
    worker.kind = answer.kind;
    worker.models = {{"m", 60}};
    worker.tokens_identity = answer.identity;
    worker.exact_identity = answer.identity * 10 + (draw_.one_in(4) ? 1 : 0);
    worker.eos_ids = {answer.end_id()};
    worker.whole_known = {draw_.one_in(2), draw_.one_in(2)};
  }

  void make_spec() {
    spec_.model = "m";
    spec_.endpoint = draw_.one_in(2) ? Endpoint::kChat : Endpoint::kCompletions;
    spec_.stream = !draw_.one_in(4);
    spec_.include_usage = draw_.one_in(2);
    spec_.tokens_allowed = {!draw_.one_in(5), !draw_.one_in(5)};
    spec_.text_allowed = {true, draw_.one_in(2)};
    spec_.adds_fields = {true, true};
    spec_.default_max = {draw_.one_in(4) && !halves_ ? 6 : 0, 0};
    if (draw_.one_in(3) && !halves_) spec_.max_tokens = 1 + draw_.below(14);
    // Two that overlap and end in one token cannot be told apart across a seam.
    static constexpr std::array<const char*, 5> kStops = {"ba", "b c", "\xC3\xA9", " c", "abab"};
    if (draw_.one_in(4)) {
      spec_.stop.emplace_back(kStops.back());
    } else {
      for (auto left = draw_.below(3); left > 0; --left) {
        spec_.stop.emplace_back(kStops[draw_.below(kStops.size() - 1)]);
      }
    }
    spec_.greedy = draw_.one_in(2);
    if (draw_.one_in(4)) spec_.prompt_ids = kPrompt;
    spec_.prompt_tokens_estimate = static_cast<std::int64_t>(draw_.below(100));
    options_.text = draw_.one_in(6);
    options_.tokens = !draw_.one_in(8);
    options_.restart = !draw_.one_in(8);
    options_.strict_identity = draw_.one_in(6);
    if (honest_) return;
    spec_.min_tokens = static_cast<std::int64_t>(draw_.below(4));
    spec_.ignore_eos = draw_.one_in(4);
    spec_.choices = static_cast<std::int64_t>(draw_.below(6) < 4 ? 1 : draw_.below(3));
    spec_.drops_held_text = {false, draw_.one_in(2)};
    spec_.stop_token_ids = {answers_[0].id(draw_.below(8))};
    if (draw_.one_in(6)) {
      spec_.relayed = true;
      spec_.stream = false;
      spec_.tokens_allowed = {};  // nobody reads its tokens
      spec_.repeatable = draw_.one_in(2);
    }
    if (!spec_.relayed && draw_.one_in(6)) spec_.fallback = {"other", "m"};
  }

  std::size_t vocabulary(const WorkerStatus& worker) const {
    return static_cast<std::size_t>(worker.tokens_identity - 7);
  }

  std::int64_t limit_of(const Answer& answer) const {
    const auto by_kind = spec_.default_max[static_cast<std::size_t>(answer.kind)];
    return spec_.max_tokens.value_or(by_kind);
  }

  Draw draw_;
  bool honest_ = true;
  bool halves_ = false;
  std::array<Answer, 2> answers_;
  FleetView view_;
  RequestSpec spec_;
  MigrationOptions options_;
};

}  // namespace hf::core::fuzz
