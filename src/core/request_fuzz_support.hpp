// A request machine under any order of inputs, judged after each one. The bytes of a fuzzer (or of
// a generator: the unit test does that) are the choices.
//
// Two regimes, told apart by the first byte:
//  - honest: engines say what is true, in the shapes of vLLM and llama.cpp, and break anywhere. The
//    client's text is then at any time a prefix of the right answer, and a complete one is all of
//    it.
//  - anything: engines say whatever. What holds then: an action belongs to an attempt that is open,
//  a
//    request ends once and does nothing after it, counters and budgets return, deadlines lie ahead.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/request_machine.hpp"

namespace hf::core::fuzz {

/// Bytes as choices; zeros when they are used up.
class Draw {
 public:
  Draw(const std::uint8_t* bytes, std::size_t size) : at_(bytes), end_(bytes + size) {}
  bool is_empty() const { return at_ == end_; }
  unsigned byte() { return is_empty() ? 0 : *at_++; }
  /// In [0, n); n > 0.
  std::size_t below(std::size_t n) { return byte() % n; }
  bool one_in(std::size_t n) { return below(n) == n - 1; }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

/// What the model of one vocabulary writes. A token's id tells its place, so that no two are equal.
struct Answer {
  std::uint64_t identity = 7;
  int kind = 0;                     // 0 speaks as vLLM does, 1 as llama.cpp
  std::vector<std::string> pieces;  // the bytes of each token; then its end

  TokenId id(std::size_t place) const { return static_cast<TokenId>(identity * 1000 + place); }
  TokenId end_id() const { return id(pieces.size()); }
  /// The text of the first `tokens`, without half a character at its end.
  std::string text(std::size_t tokens) const {
    std::string out;
    for (std::size_t i = 0; i < std::min(tokens, pieces.size()); ++i) out += pieces[i];
    if (out.ends_with('\xC3')) out.pop_back();
    return out;
  }
};

/// How an answer goes up to a place: what may be shown, and whether it ends there.
struct Progress {
  std::string shown;
  Finish finish = Finish::kNone;
  bool by_string = false;
  std::string_view stop;  // which one
};

/// `text` is all that this engine wrote itself.
inline Progress progress(const Answer& answer, const RequestSpec& spec, const std::string& text,
                         std::size_t tokens, std::int64_t limit) {
  std::size_t cut = std::string::npos;
  std::size_t hold = 0;
  std::string_view found;
  for (const auto& stop : spec.stop) {
    if (const auto at = text.find(stop); at < cut) {
      cut = at;
      found = stop;
    }
    for (std::size_t n = std::min(stop.size() - 1, text.size()); n > hold; --n) {
      if (text.ends_with(std::string_view(stop).substr(0, n))) hold = n;
    }
  }
  if (cut != std::string::npos) return {text.substr(0, cut), Finish::kStop, true, found};
  if (tokens > answer.pieces.size()) return {text, Finish::kStop, false, {}};
  if (limit > 0 && std::cmp_greater_equal(tokens, limit)) return {text, Finish::kLength, false, {}};
  return {text.substr(0, text.size() - hold), Finish::kNone, false, {}};
}

/// The whole of an answer as one engine writes it that nothing happens to.
struct Whole {
  std::string text;
  Finish finish = Finish::kNone;
  std::int64_t tokens = 0;
};
inline Whole whole(const Answer& answer, const RequestSpec& spec, std::int64_t limit) {
  for (std::size_t n = 1;; ++n) {
    const auto now = progress(answer, spec, answer.text(n), n, limit);
    if (now.finish != Finish::kNone) {
      return {now.shown, now.finish, static_cast<std::int64_t>(n)};
    }
  }
}

/// An event and what its views point to.
struct Event {
  UpstreamEvent meaning;
  std::vector<TokenId> ids;
  std::vector<TokenId> prompt_ids;
  std::string text;
  const UpstreamEvent& seal() {
    meaning.ids = ids;
    meaning.text = text;
    meaning.prompt_ids = prompt_ids;
    return meaning;
  }
};

inline const std::vector<TokenId> kPrompt = {11, 12, 13};

/// One open attempt, as its engine sees it.
struct EngineSide {
  AttemptId id = 0;
  std::size_t worker = 0;
  Mode mode = Mode::kFirst;
  bool with_ids = false;
  bool streams = true;
  bool paused = false;
  Answer answer;
  std::size_t from = 0;        // tokens that it was given
  std::size_t done = 0;        // tokens, with those
  std::size_t base_bytes = 0;  // the text that it was given
  std::size_t shown = 0;       // bytes of its own text that it sent
  std::int64_t limit = 0;      // for `done`; 0: none
  bool said_role = false;
  bool said_usage = false;
  Finish owed = Finish::kNone;  // llama.cpp: a finish event of its own
  bool finished = false;

  std::int64_t count() const {
    return with_ids ? static_cast<std::int64_t>(done - from) : std::int64_t{-1};
  }

  Event next(const RequestSpec& spec, Draw& draw) {
    Event event;
    event.meaning.prompt_tokens =
        static_cast<std::int64_t>(kPrompt.size() + (mode == Mode::kTokens ? from : 0));
    if (!said_role && spec.endpoint == Endpoint::kChat) {
      said_role = true;
      event.meaning.kind = EventKind::kRole;
      if (with_ids && answer.kind == 0 && mode != Mode::kTokens) event.prompt_ids = kPrompt;
    } else if (!finished) {
      tokens(spec, draw, event);
    } else if (!said_usage) {
      said_usage = true;
      event.meaning.kind = EventKind::kUsage;
      event.meaning.completion_tokens = count();
    } else {
      event.meaning.kind = EventKind::kDone;
    }
    return event;
  }

 private:
  void tokens(const RequestSpec& spec, Draw& draw, Event& event) {
    event.meaning.kind = EventKind::kTokens;
    if (with_ids && answer.kind == 0 && mode != Mode::kTokens) event.prompt_ids = kPrompt;
    std::size_t batch = answer.kind == 0 && spec.stop.empty() ? 1 + draw.below(3) : 1;
    Progress now;
    while (owed == Finish::kNone) {
      ++done;
      const auto text = answer.text(done);
      now = progress(answer, spec, text.substr(std::min(base_bytes, text.size())), done, limit);
      if (with_ids && answer.kind == 0) event.ids.push_back(answer.id(done - 1));
      batch -= std::min<std::size_t>(batch, 1);
      if (now.finish != Finish::kNone) break;
      if (answer.kind == 0 ? batch == 0 : now.shown.size() > shown) break;
    }
    event.meaning.completion_tokens = count();
    if (owed == Finish::kNone) {
      event.text = now.shown.substr(std::min(shown, now.shown.size()));
      shown = std::max(shown, now.shown.size());
    }
    // llama.cpp: the token first, then its finish reason.
    const bool split = answer.kind == 1 && now.finish != Finish::kNone && !now.by_string &&
                       !event.text.empty() && done <= answer.pieces.size();
    if (split) {
      owed = now.finish;
    } else {
      event.meaning.finish = owed != Finish::kNone ? owed : now.finish;
      finished = event.meaning.finish != Finish::kNone;
      event.meaning.at_end_token = event.meaning.finish == Finish::kStop &&
                                   done > answer.pieces.size() && mode == Mode::kTokens;
      if (answer.kind == 0 || mode == Mode::kTokens) event.meaning.stop_string = now.stop;
    }
    const bool tells = answer.kind == 1 && with_ids && event.meaning.finish == Finish::kNone;
    if (tells) event.ids = {answer.id(done - 1)};
  }
};

}  // namespace hf::core::fuzz
