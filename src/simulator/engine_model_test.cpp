#include "simulator/engine_model.hpp"

#include <gtest/gtest.h>
#include <map>

namespace hf::simulator {
namespace {

using std::chrono::milliseconds;

SequenceParams greedy(const EngineModel& engine, std::string_view prompt, std::int32_t tokens) {
  SequenceParams params;
  params.prompt = engine.vocabulary().tokenize(prompt, true);
  params.max_tokens = tokens;
  params.temperature = 0;
  return params;
}

struct Outcome {
  std::map<SequenceId, std::vector<TokenId>> ids;
  std::map<SequenceId, std::string> text;
  std::map<SequenceId, TokenEvent> last;
  std::map<SequenceId, Instant> first_at, last_at;
};

Outcome run(EngineModel& engine, Instant now = {}) {
  Outcome result;
  std::vector<TokenEvent> events;
  while (engine.next_event_at() != kNever) {
    now = std::max(now, engine.next_event_at());
    events.clear();
    engine.advance(now, events);
    for (const TokenEvent& event : events) {
      if (event.id >= 0) result.ids[event.sequence].push_back(event.id);
      result.text[event.sequence] += event.text;
      if (event.first) result.first_at[event.sequence] = now;
      result.last[event.sequence] = event;
      result.last_at[event.sequence] = now;
    }
  }
  return result;
}

EngineOptions no_eos(Dialect dialect = Dialect::kVllm) {
  EngineOptions options;
  options.dialect = dialect;
  options.eos_every = 0;
  return options;
}

TEST(EngineModel, TwoEnginesGiveTheSameGreedyAnswerInAnyCompany) {
  EngineModel a(no_eos()), b(no_eos(Dialect::kLlama));
  const auto alone = *a.submit(greedy(a, "The fox", 200), {});
  for (int i = 0; i < 3; ++i) {
    SequenceParams noise = greedy(b, "noise", 300);
    noise.temperature = 1;
    ASSERT_TRUE(b.submit(noise, {}));
  }
  const auto crowded = *b.submit(greedy(b, "The fox", 200), {});
  const Outcome left = run(a), right = run(b);
  EXPECT_EQ(left.ids.at(alone), right.ids.at(crowded));
  EXPECT_EQ(left.text.at(alone), right.text.at(crowded));
  EXPECT_EQ(left.ids.at(alone), a.expected(greedy(a, "The fox", 200)).ids);
}

TEST(EngineModel, AGreedyAnswerGoesOnFromAnyPrefixOfItsIds) {
  EngineModel engine(no_eos());
  const auto whole = engine.expected(greedy(engine, "sea", 64));
  for (std::size_t k = 1; k < whole.ids.size(); ++k) {
    SequenceParams rest = greedy(engine, "sea", static_cast<std::int32_t>(64 - k));
    rest.prompt.insert(rest.prompt.end(), whole.ids.begin(),
                       whole.ids.begin() + static_cast<std::ptrdiff_t>(k));
    const auto tail = engine.expected(rest);
    EXPECT_TRUE(std::equal(tail.ids.begin(), tail.ids.end(),
                           whole.ids.begin() + static_cast<std::ptrdiff_t>(k)))
        << k;
  }
}

TEST(EngineModel, ASeedRepeatsAReplayButNotAContinuation) {
  EngineModel engine(no_eos());
  SequenceParams params = greedy(engine, "sea", 48);
  params.temperature = 0.8;
  params.seed = 5;
  const auto whole = engine.expected(params);
  EXPECT_EQ(engine.expected(params).ids, whole.ids);
  params.prompt.insert(params.prompt.end(), whole.ids.begin(), whole.ids.begin() + 10);
  params.max_tokens = 38;
  EXPECT_NE(engine.expected(params).ids,
            std::vector<TokenId>(whole.ids.begin() + 10, whole.ids.end()));
}

TEST(EngineModel, WithoutASeedTwoSampledAnswersDifferAndTheDefaultIsSampled) {
  EngineModel engine(no_eos());
  SequenceParams params = greedy(engine, "sea", 40);
  params.temperature = -1;
  const auto a = *engine.submit(params, {});
  const auto b = *engine.submit(params, {});
  const Outcome result = run(engine);
  EXPECT_NE(result.ids.at(a), result.ids.at(b));
  EngineOptions always = no_eos();
  always.greedy_always = true;
  EngineModel other(always);
  EXPECT_EQ(other.expected(params).ids, engine.expected(greedy(engine, "sea", 40)).ids);
}

TEST(EngineModel, AnotherVariantAnswersDifferently) {
  EngineOptions options = no_eos();
  options.variant = 3;
  EngineModel other(options), engine(no_eos());
  EXPECT_NE(other.expected(greedy(other, "sea", 30)).text,
            engine.expected(greedy(engine, "sea", 30)).text);
}

TEST(EngineModel, EndsByEosButNotWithIgnoreEosNorBeforeMinTokens) {
  EngineOptions options;
  options.eos_every = 20;
  EngineModel engine(options);
  const auto params = greedy(engine, "to the sea", 1000);
  const auto answer = engine.expected(params);
  ASSERT_EQ(answer.finish, Finish::kStop);
  EXPECT_EQ(answer.stop_kind, StopKind::kEos);
  EXPECT_EQ(answer.ids.back(), kImEnd);
  SequenceParams ignoring = params;
  ignoring.ignore_eos = true;
  EXPECT_EQ(engine.expected(ignoring).finish, Finish::kLength);
  EXPECT_EQ(engine.expected(ignoring).ids.size(), 1000U);
  SequenceParams later = params;
  later.min_tokens = static_cast<std::int32_t>(answer.ids.size()) + 5;
  EXPECT_GT(engine.expected(later).ids.size(), answer.ids.size() + 4);
}

TEST(EngineModel, EosMayComeInAnEventOfItsOwn) {
  EngineOptions options;
  options.eos_every = 20;
  options.eos_before_final = true;
  EngineModel engine(options);
  const auto id = *engine.submit(greedy(engine, "to the sea", 1000), {});
  const Outcome result = run(engine);
  EXPECT_EQ(result.ids.at(id).back(), kImEnd);
  EXPECT_EQ(result.last.at(id).id, -1);
  EXPECT_EQ(result.last.at(id).finish, Finish::kStop);
  EXPECT_EQ(engine.counters().running, 0);
}

TEST(EngineModel, TheModelLengthIsALimitToo) {
  EngineOptions options = no_eos();
  options.model_len = 50;
  EngineModel engine(options);
  auto params = greedy(engine, "sea", -1);
  EXPECT_EQ(engine.expected(params).ids.size(), 50 - params.prompt.size());
  params.max_tokens = 0;  // llama.cpp's n_predict 0
  EXPECT_EQ(engine.expected(params).ids.size(), 1U);
  params.prompt.assign(50, 100);
  EXPECT_EQ(engine.submit(params, {}).error().code, Code::kTooLarge);
  params.prompt = {5'000};
  EXPECT_EQ(engine.submit(params, {}).error().code, Code::kBadInput);
}

TEST(EngineModel, VllmHoldsBackWhatAStopStringCouldNeed) {
  EngineModel engine(no_eos());
  auto params = greedy(engine, "sea", 40);
  params.stop = {"zzzzzzzz"};
  const auto id = *engine.submit(params, {});
  std::vector<TokenEvent> events;
  std::string all, shown;
  Utf8Decoder decoder;
  Instant now{};
  for (int i = 0; i < 39; ++i) {
    now = std::max(now, engine.next_event_at());
    events.clear();
    engine.advance(now, events);
    ASSERT_EQ(events.size(), 1U);
    decoder.push(engine.vocabulary().bytes(events[0].id), all);
    shown += events[0].text;
    const auto chars = [](std::string_view text) {
      return std::count_if(text.begin(), text.end(),
                           [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
    };
    if (!decoder.pending()) EXPECT_EQ(chars(shown), std::max<std::ptrdiff_t>(chars(all) - 7, 0));
  }
  const Outcome rest = run(engine, now);
  EXPECT_EQ(shown + rest.text.at(id), engine.expected(greedy(engine, "sea", 40)).text);
}

TEST(EngineModel, LlamaHoldsBackOnlyTheBeginningOfAStopString) {
  EngineModel engine(no_eos(Dialect::kLlama));
  const auto plain = engine.expected(greedy(engine, "sea", 80));
  const std::size_t at = plain.text.find(" t");
  ASSERT_NE(at, std::string::npos);
  auto params = greedy(engine, "sea", 80);
  params.stop = {" tzzzz"};
  ASSERT_TRUE(engine.submit(params, {}));
  std::vector<TokenEvent> events;
  int held = 0;
  bool late = false;
  std::string shown;
  while (engine.next_event_at() != kNever) {
    events.clear();
    engine.advance(engine.next_event_at(), events);
    const TokenEvent& event = events.at(0);
    if (event.visible && event.text.empty()) ++held;
    late = late || event.text.size() > engine.vocabulary().bytes(event.id).size();
    shown += event.text;
  }
  EXPECT_GT(held, 0);
  EXPECT_TRUE(late);
  EXPECT_EQ(shown, plain.text);
}

TEST(EngineModel, AStopStringCutsTheTextAndEndsTheAnswer) {
  for (const Dialect dialect : {Dialect::kVllm, Dialect::kLlama}) {
    EngineModel engine(no_eos(dialect));
    const auto plain = engine.expected(greedy(engine, "sea", 80));
    const std::string stop = plain.text.substr(60, 5);
    auto params = greedy(engine, "sea", 80);
    params.stop = {"not there", stop};
    const auto cut = engine.expected(params);
    EXPECT_EQ(cut.text, plain.text.substr(0, plain.text.find(stop)));
    EXPECT_EQ(cut.finish, Finish::kStop);
    EXPECT_EQ(cut.stop_kind, StopKind::kWord);
    EXPECT_TRUE(std::equal(cut.ids.begin(), cut.ids.end(), plain.ids.begin()));
  }
}

TEST(EngineModel, AStopIdEndsWithoutItsText) {
  EngineModel engine(no_eos());
  const auto plain = engine.expected(greedy(engine, "sea", 80));
  auto params = greedy(engine, "sea", 80);
  params.stop_token_ids = {plain.ids[30]};
  const auto cut = engine.expected(params);
  EXPECT_EQ(cut.stop_kind, StopKind::kTokenId);
  const auto first = std::find(plain.ids.begin(), plain.ids.end(), plain.ids[30]);
  EXPECT_EQ(cut.ids.size(), static_cast<std::size_t>(first - plain.ids.begin()) + 1);
}

TEST(EngineModel, HalfCharactersShowNothingAndOnLlamaNotEvenAnEvent) {
  for (const Dialect dialect : {Dialect::kVllm, Dialect::kLlama}) {
    EngineModel engine(no_eos(dialect));
    ASSERT_TRUE(engine.submit(greedy(engine, "sea", 400), {}));
    std::vector<TokenEvent> events;
    int invisible = 0, empty = 0;
    while (engine.next_event_at() != kNever) {
      events.clear();
      engine.advance(engine.next_event_at(), events);
      if (!events[0].visible) ++invisible;
      if (events[0].text.empty()) ++empty;
    }
    EXPECT_GT(empty, 20);
    if (dialect == Dialect::kLlama) EXPECT_GT(invisible, 20);
    if (dialect == Dialect::kVllm) EXPECT_EQ(invisible, 0);
  }
}

TEST(EngineModel, AllRunningSequencesStepTogetherAndTheFirstTokenWaitsForThePrefillQueue) {
  EngineOptions options = no_eos();
  options.prefill_tokens_per_s = 1000;
  options.ttft = milliseconds(5);
  options.itl = milliseconds(10);
  EngineModel engine(options);
  SequenceParams params = greedy(engine, "a", 30);
  params.prompt.assign(100, 100);  // 100 ms each
  const auto a = *engine.submit(params, {});
  const auto b = *engine.submit(params, {});
  const Outcome result = run(engine);
  EXPECT_EQ(result.first_at.at(a) - Instant{}, milliseconds(105));
  EXPECT_EQ(result.first_at.at(b) - Instant{}, milliseconds(205));
  EXPECT_EQ(result.last_at.at(a) - result.first_at.at(a), milliseconds(290));
  EXPECT_EQ((result.last_at.at(b) - result.last_at.at(a)) % milliseconds(10), Duration{});
}

TEST(EngineModel, SequencesBeyondTheSlotsWait) {
  EngineOptions options = no_eos(Dialect::kLlama);
  options.slots = 2;
  EngineModel engine(options);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(engine.submit(greedy(engine, "sea", 10), {}));
  EXPECT_EQ(engine.counters().running, 2);
  EXPECT_EQ(engine.counters().waiting, 3);
  const Outcome result = run(engine);
  EXPECT_EQ(result.ids.size(), 5U);
  EXPECT_EQ(engine.counters().generated_tokens, 50U);
  EXPECT_EQ(engine.counters().kv_usage, 0);
}

TEST(EngineModel, ALateCallMakesOneStepNotABurst) {
  EngineModel engine(no_eos());
  ASSERT_TRUE(engine.submit(greedy(engine, "sea", 100), {}));
  std::vector<TokenEvent> events;
  const Instant late = Instant{} + std::chrono::seconds(5);
  engine.advance(late, events);
  engine.advance(late, events);
  EXPECT_EQ(events.size(), 1U);
  EXPECT_EQ(engine.next_event_at(), late + milliseconds(10));
}

TEST(EngineModel, CancellingFreesTheSlotAndMovesThePrefillQueueUp) {
  EngineOptions options = no_eos(Dialect::kLlama);
  options.slots = 3;
  options.prefill_tokens_per_s = 1000;
  EngineModel engine(options);
  SequenceParams params = greedy(engine, "a", 5);
  params.prompt.assign(1000, 100);  // 1 s each
  ASSERT_TRUE(engine.submit(params, {}));
  const auto second = *engine.submit(params, {});
  const auto third = *engine.submit(params, {});
  const auto waiting = *engine.submit(params, {});
  engine.cancel(waiting, {});
  EXPECT_EQ(engine.counters().waiting, 0);
  engine.cancel(second, {});
  EXPECT_EQ(engine.counters().running, 2);
  const Outcome result = run(engine);
  EXPECT_LT(result.first_at.at(third) - Instant{}, milliseconds(2100));
  EXPECT_EQ(engine.counters().aborted, 2U);
  EXPECT_FALSE(result.ids.contains(second));
}

TEST(EngineModel, HoldSlowAndWedgeDoWhatTheySay) {
  EngineModel engine(no_eos());
  const auto id = *engine.submit(greedy(engine, "sea", 12), {});
  const Instant until = Instant{} + std::chrono::seconds(3);
  engine.hold_until(until);
  EXPECT_EQ(engine.next_event_at(), until);
  std::vector<TokenEvent> events;
  engine.advance(until - milliseconds(1), events);
  EXPECT_TRUE(events.empty());
  engine.set_slow(50);
  engine.advance(until, events);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(engine.next_event_at() - until, milliseconds(500));
  engine.set_wedged(true);
  EXPECT_EQ(engine.next_event_at(), kNever);
  engine.set_wedged(false);
  EXPECT_EQ(run(engine, until).ids.at(id).size(), 11U);
}

TEST(EngineModel, ThePrefixCacheSavesPrefill) {
  EngineOptions options = no_eos();
  options.prefix_cache = true;
  EngineModel engine(options);
  SequenceParams params = greedy(engine, "a", 5);
  params.prompt.assign(1000, 100);
  ASSERT_TRUE(engine.submit(params, {}));
  params.prompt.resize(1010, 101);
  const auto second = *engine.submit(params, {});
  EXPECT_EQ(engine.view(second)->cached_tokens, 992);
  EXPECT_EQ(engine.counters().prompt_tokens_cached, 992U);
}

TEST(EngineModel, AbortTellsEverySequenceOnce) {
  EngineModel engine(no_eos());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(engine.submit(greedy(engine, "sea", 100), {}));
  std::vector<TokenEvent> events;
  engine.abort_all(events);
  ASSERT_EQ(events.size(), 3U);
  for (const TokenEvent& event : events) EXPECT_EQ(event.finish, Finish::kAbort);
  EXPECT_EQ(engine.counters().running, 0);
  EXPECT_EQ(engine.next_event_at(), kNever);
}

}  // namespace
}  // namespace hf::simulator
