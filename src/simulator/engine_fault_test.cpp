#include "simulator/engine_fault.hpp"

#include <gtest/gtest.h>

#include "simulator/engine_test_client.hpp"

namespace hf::simulator {
namespace {

using std::chrono::milliseconds;

constexpr const char* kLongChat =
    R"({"messages":[{"role":"user","content":"x"}],"max_tokens":900,"temperature":0,)"
    R"("stream":true,"return_token_ids":true})";

EngineApiOptions options_of(Dialect dialect) {
  EngineApiOptions options = test_options(dialect);
  options.engine.eos_every = 0;
  return options;
}

struct Faults : testing::Test {
  std::uint64_t chat(std::size_t events = 5) {
    const auto id = engine.send("POST", "/v1/chat/completions", kLongChat);
    engine.run_until_events(id, events);
    return id;
  }
  TestClient engine{options_of(Dialect::kVllm)};
};

TEST_F(Faults, UnknownOnesAreRefused) {
  for (const char* body : {"", "{}", R"({"kind":"tea"})", R"({"kind":"die","how":"slowly"})",
                           R"({"kind":"slow","factor":0})", R"({"kind":"pause"})",
                           R"({"kind":"freeze","ms":-1})", R"({"kind":"status","code":200})"}) {
    EXPECT_EQ(engine.fault(body).status, 400) << body;
  }
  EXPECT_EQ(engine.ask("GET", "/sim/tea").status, 404);
}

TEST_F(Faults, FreezeSilencesEverythingUntilUnfrozen) {
  const auto id = chat();
  EXPECT_EQ(engine.fault(R"({"kind":"freeze"})").status, 200);
  EXPECT_EQ(engine.api.next_event_at(), kNever);
  const std::size_t before = engine.bytes[id].size();
  const auto health = engine.send("GET", "/health", "");
  engine.now += std::chrono::seconds(20);
  engine.poll();
  EXPECT_EQ(engine.bytes[id].size(), before);
  EXPECT_TRUE(engine.bytes[health].empty());
  EXPECT_EQ(engine.ask("GET", "/sim/stats").status, 200);
  EXPECT_EQ(engine.fault(R"({"kind":"unfreeze"})").status, 200);
  engine.poll();
  EXPECT_EQ(engine.answer(health).status, 200);
  engine.step();
  EXPECT_GT(engine.bytes[id].size(), before);
}

TEST_F(Faults, FreezeMayEndByItself) {
  const auto id = chat();
  engine.fault(R"({"kind":"freeze","ms":3000})");
  const Instant begun = engine.now;
  EXPECT_EQ(engine.api.next_event_at(), begun + milliseconds(3000));
  const std::size_t events = engine.answer(id).events().size();
  engine.run_until_events(id, events + 1);
  EXPECT_GE(engine.now - begun, milliseconds(3000));
  EXPECT_LE(engine.now - begun, milliseconds(3020));
}

TEST_F(Faults, PauseSilencesStreamsButNotHealth) {
  const auto id = chat();
  engine.fault(R"({"kind":"pause","ms":3000})");
  const Instant begun = engine.now;
  EXPECT_EQ(engine.ask("GET", "/health").status, 200);
  EXPECT_EQ(engine.now, begun);
  const std::size_t events = engine.answer(id).events().size();
  engine.run_until_events(id, events + 1);
  EXPECT_GE(engine.now - begun, milliseconds(3000));
}

TEST_F(Faults, SlowStretchesTheGaps) {
  const auto id = chat();
  engine.fault(R"({"kind":"slow","factor":50})");
  engine.step();
  const Instant begun = engine.now;
  const std::size_t events = engine.answer(id).events().size();
  engine.run_until_events(id, events + 4);
  EXPECT_EQ(engine.now - begun, milliseconds(2000));
}

TEST_F(Faults, WedgedEnginesAreHealthyAndSilent) {
  chat();
  engine.fault(R"({"kind":"wedge"})");
  EXPECT_EQ(engine.api.next_event_at(), kNever);
  EXPECT_EQ(engine.ask("GET", "/health").status, 200);
  const auto id = engine.send("POST", "/v1/chat/completions", kLongChat);
  EXPECT_EQ(engine.ends[id], StreamEnd::kOpen);
  EXPECT_TRUE(engine.answer(id).chunks.empty());
  EXPECT_EQ(engine.api.next_event_at(), kNever);
  engine.fault(R"({"kind":"clear"})");
  EXPECT_NE(engine.api.next_event_at(), kNever);
}

TEST_F(Faults, DyingAsVllmDiesIsAnErrorInBandThenUnhealthyThenGone) {
  const auto id = chat();
  const auto whole = engine.send("POST", "/v1/completions", R"({"prompt":"a"})");
  engine.fault(R"({"kind":"die","how":"vllm"})");
  engine.poll();
  const auto answer = engine.answer(id);
  EXPECT_TRUE(answer.last_chunk);
  ASSERT_GE(answer.events().size(), 2U);
  EXPECT_EQ(answer.events().back(), "[DONE]");
  EXPECT_TRUE(answer.objects().back().contains("error"));
  EXPECT_EQ(engine.answer(whole).status, 500);
  EXPECT_EQ(engine.ask("GET", "/health").status, 503);
  EXPECT_EQ(engine.post("/v1/completions", R"({"prompt":"a"})").status, 500);
  EXPECT_EQ(engine.action, ProcessAction::kNone);
  const Instant died = engine.now;
  engine.step();
  EXPECT_EQ(engine.now - died, std::chrono::seconds(2));
  EXPECT_EQ(engine.action, ProcessAction::kExit);
}

TEST_F(Faults, DyingAsLlamaDiesIsACut) {
  TestClient llama(options_of(Dialect::kLlama));
  const auto id = llama.send("POST", "/v1/chat/completions", kLongChat);
  llama.run_until_events(id, 5);
  llama.fault(R"({"kind":"die","how":"llama"})");
  llama.poll();
  EXPECT_EQ(llama.ends[id], StreamEnd::kCut);
  EXPECT_FALSE(llama.answer(id).last_chunk);
  EXPECT_EQ(llama.action, ProcessAction::kExit);
}

TEST_F(Faults, DeathMayWaitForSoManyTokens) {
  const auto a = chat(), b = chat();
  const auto before = engine.api.model().counters().generated_tokens;
  engine.fault(R"({"kind":"die","how":"sigkill","after_tokens":7})");
  while (engine.action == ProcessAction::kNone && engine.step()) {
  }
  EXPECT_EQ(engine.action, ProcessAction::kSigkill);
  // The step that kills is cut short: the eighth token was made, never written.
  EXPECT_EQ(engine.api.model().counters().generated_tokens, before + 8);
  EXPECT_FALSE(engine.step());
  EXPECT_EQ(engine.ends[a], StreamEnd::kOpen);
  EXPECT_EQ(engine.ends[b], StreamEnd::kOpen);
}

TEST_F(Faults, ExitIsImmediate) {
  chat();
  engine.fault(R"({"kind":"die","how":"exit"})");
  engine.poll();
  EXPECT_EQ(engine.action, ProcessAction::kExit);
  EXPECT_EQ(engine.api.next_event_at(), kNever);
}

TEST_F(Faults, AbortIsAFinishReason) {
  const auto id = chat();
  engine.fault(R"({"kind":"abort"})");
  engine.poll();
  const auto answer = engine.answer(id);
  EXPECT_EQ(answer.end, StreamEnd::kDone);
  EXPECT_EQ(answer.objects().back().at("choices").as_array()[0].at("finish_reason").as_string(),
            "abort");
  EXPECT_EQ(answer.events().back(), "[DONE]");
  TestClient llama(options_of(Dialect::kLlama));
  EXPECT_EQ(llama.fault(R"({"kind":"abort"})").status, 400);
}

TEST_F(Faults, EarlyEndIsCleanAndHasNoFinish) {
  const auto id = chat();
  engine.fault(R"({"kind":"early_end"})");
  engine.poll();
  const auto answer = engine.answer(id);
  EXPECT_EQ(answer.end, StreamEnd::kDone);
  EXPECT_TRUE(answer.last_chunk);
  EXPECT_EQ(answer.body.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(answer.objects().back().at("choices").as_array()[0].at("finish_reason").is_null());
  EXPECT_EQ(engine.api.model().counters().running, 0);
}

TEST_F(Faults, HalfAnEventEndsCleanlyToo) {
  for (const Dialect dialect : {Dialect::kVllm, Dialect::kLlama}) {
    TestClient one(options_of(dialect));
    const char* path = dialect == Dialect::kLlama ? "/completion" : "/v1/completions";
    const auto id = one.send("POST", path, R"({"prompt":"a","max_tokens":500,"stream":true})");
    one.run_until_events(id, 3);
    one.fault(R"({"kind":"half_event"})");
    one.poll();
    const auto answer = one.answer(id);
    EXPECT_TRUE(answer.last_chunk);
    EXPECT_FALSE(answer.body.ends_with("\n\n"));
    EXPECT_TRUE(answer.chunks.back().starts_with("data: {"));
  }
}

TEST_F(Faults, ResetResetsEveryStream) {
  const auto a = chat(), b = chat();
  engine.fault(R"({"kind":"reset_streams"})");
  engine.poll();
  EXPECT_EQ(engine.ends[a], StreamEnd::kReset);
  EXPECT_EQ(engine.ends[b], StreamEnd::kReset);
  EXPECT_EQ(engine.post("/v1/completions", R"({"prompt":"a"})").status, 200);
}

TEST_F(Faults, DropIdsLeavesTextWithoutIds) {
  engine.fault(R"({"kind":"drop_ids","every":4})");
  const auto answer = engine.post(
      "/v1/completions",
      R"({"prompt":"sea","max_tokens":40,"stream":true,"temperature":0,"return_token_ids":true})");
  std::size_t with = 0, without = 0;
  for (const auto& event : answer.objects()) {
    const auto& ids = event.at("choices").as_array()[0].at("token_ids").as_array();
    (ids.empty() ? without : with) += 1;
  }
  EXPECT_EQ(without, 10U);
  EXPECT_EQ(with, 30U);
}

TEST_F(Faults, StatusRefusesTheNextRequests) {
  engine.fault(R"({"kind":"status","code":503,"retry_after":1,"count":2})");
  for (int i = 0; i < 2; ++i) {
    const auto answer = engine.post("/v1/completions", R"({"prompt":"a"})");
    EXPECT_EQ(answer.status, 503);
    EXPECT_NE(answer.raw.find("retry-after: 1\r\n"), std::string::npos);
  }
  EXPECT_EQ(engine.ask("GET", "/health").status, 200);
  EXPECT_EQ(engine.post("/v1/completions", R"({"prompt":"a"})").status, 200);
}

TEST_F(Faults, PoisonKillsAfterItsTokensAlsoWhenItComesAsIds) {
  const std::vector<TokenId> ids = Vocabulary::standard().tokenize("a <<poison>> b", true);
  boost::json::array list(ids.begin(), ids.end());
  for (const std::string& prompt :
       {std::string(R"("a <<poison>> b")"), boost::json::serialize(list)}) {
    TestClient one(options_of(Dialect::kVllm));
    const auto id = one.send("POST", "/v1/completions",
                             R"({"prompt":)" + prompt + R"(,"max_tokens":50,"stream":true})");
    one.run_until_ended(id);
    EXPECT_EQ(one.action, ProcessAction::kSigkill);
    EXPECT_EQ(one.answer(id).objects().size(), 2U);
    EXPECT_EQ(one.ends[id], StreamEnd::kOpen);
  }
}

TEST_F(Faults, StatsTellWhatHappened) {
  engine.send("POST", "/v1/completions", R"({"prompt":"sea","max_tokens":5,"stream":true})",
              "req-1");
  const auto id = engine.last;
  engine.run_until_ended(id);
  engine.api.set_connections(3);
  const auto stats = engine.ask("GET", "/sim/stats").json();
  EXPECT_EQ(stats.at("requests").as_int64(), 1);
  EXPECT_EQ(stats.at("tokens").as_int64(), 5);
  EXPECT_EQ(stats.at("running").as_int64(), 0);
  EXPECT_EQ(stats.at("connections").as_int64(), 3);
  EXPECT_EQ(stats.at("request_ids").as_array()[0].as_string(), "req-1");
  const auto& first = stats.at("ttft_us").as_array()[0].as_object();
  EXPECT_EQ(first.at("request_id").as_string(), "req-1");
  EXPECT_GE(first.at("us").as_int64(), 5000);
  EXPECT_LT(first.at("us").as_int64(), 16'000);
}

}  // namespace
}  // namespace hf::simulator
