#include "engine/dialect.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "engine/recorded_test_support.hpp"

namespace hf::engine {
namespace {

using core::Endpoint;

const Dialect& vllm() {
  return Dialect::of(Kind::kVllm);
}
const Dialect& llama() {
  return Dialect::of(Kind::kLlamaCpp);
}

ClientRequest scan(Endpoint endpoint, std::string body) {
  auto request = scan_request(endpoint, std::move(body));
  EXPECT_TRUE(request);
  return request.value_or(ClientRequest{});
}

TEST(DialectFirst, WithoutIdsTheBytesAreTheClients) {
  const std::string body = R"( {"model" : "m","stream":true, "messages":[] } )";
  const auto request = scan(Endpoint::kChat, body);
  for (const Kind kind : {Kind::kVllm, Kind::kLlamaCpp, Kind::kOpenAi}) {
    const auto call = Dialect::of(kind).first(request, false);
    EXPECT_EQ(call.body, body);
    EXPECT_EQ(call.path, "/v1/chat/completions");
    EXPECT_FALSE(call.ids_added);
  }
}

TEST(DialectFirst, VllmIsAskedForIdsAndCounts) {
  const auto call =
      vllm().first(scan(Endpoint::kCompletions, R"({"prompt":"x","stream":true})"), true);
  EXPECT_TRUE(call.ids_added);
  EXPECT_EQ(call.path, "/v1/completions");
  EXPECT_EQ(call.body, R"({"return_token_ids":true,"stream_options":{"include_usage":true,)"
                       R"("continuous_usage_stats":true},"prompt":"x","stream":true})");
}

TEST(DialectFirst, WhatTheClientSaidOfOurFieldsIsReplacedInPlace) {
  const auto call = vllm().first(
      scan(Endpoint::kChat, R"({"stream_options": {"include_usage":true} ,"messages":[],)"
                            R"("return_token_ids":false,"stream":true})"),
      true);
  EXPECT_EQ(
      call.body,
      R"({"stream_options": {"include_usage":true,"continuous_usage_stats":true} ,"messages":[],)"
      R"("return_token_ids":true,"stream":true})");
}

TEST(DialectFirst, LlamaChatIsAskedForLogprobsAndTimings) {
  const auto call =
      llama().first(scan(Endpoint::kChat, R"({"logprobs":false,"stream":true})"), true);
  EXPECT_EQ(call.body,
            R"({"top_logprobs":1,"timings_per_token":true,"logprobs":true,"stream":true})");
}

TEST(DialectFirst, LlamaCompletionsAreVerbose) {
  const auto call =
      llama().first(scan(Endpoint::kCompletions, R"({"stream":true,"prompt":"x"})"), true);
  EXPECT_EQ(call.body, R"({"verbose":true,"stream":true,"prompt":"x"})");
}

TEST(DialectFirst, WhatDoesNotStreamIsAskedForAsAStream) {
  auto call = llama().first(scan(Endpoint::kChat, R"({"stream":false,"messages":[]})"), true);
  EXPECT_EQ(call.body,
            R"({"stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":1,)"
            R"("timings_per_token":true,"stream":true,"messages":[]})");
  EXPECT_TRUE(call.ids_added);
  const auto& vllm = Dialect::of(Kind::kVllm);
  call = vllm.first(scan(Endpoint::kChat, R"({"messages":[]})"), true);
  EXPECT_EQ(call.body,
            R"({"stream":true,"return_token_ids":true,"stream_options":{"include_usage":true,)"
            R"("continuous_usage_stats":true},"messages":[]})");
  EXPECT_EQ(vllm.first(scan(Endpoint::kChat, R"({"messages":[]})"), false).body,
            R"({"messages":[]})");
}

TEST(DialectFirst, NothingIsAddedWhereIdsCouldNotBeUsed) {
  for (const auto* body : {R"({"stream":true,"tools":[{}]})", R"({"stream":true,"logprobs":true})",
                           R"({"stream":false,"tools":[{}]})", R"({"stream":true,"mystery":1})"}) {
    const auto call = llama().first(scan(Endpoint::kChat, body), true);
    EXPECT_EQ(call.body, body);
    EXPECT_FALSE(call.ids_added);
  }
}

TEST(DialectText, ChatGetsTheTextAsAnOpenMessageOfTheAssistant) {
  const auto request =
      scan(Endpoint::kChat, R"({"model":"m","messages":[{"role":"user","content":"x"}],)"
                            R"("stream":true,"max_tokens":20,"user":null})");
  const auto& openai = Dialect::of(Kind::kOpenAi);
  ASSERT_EQ(openai.text_refused_by(request), std::nullopt);
  const auto call = openai.resume_text(request, {.text = "a\"b", .max_tokens = 7});
  EXPECT_EQ(call.path, "/v1/chat/completions");
  EXPECT_FALSE(call.ids_added);
  EXPECT_EQ(call.body,
            R"({"add_generation_prompt":false,"continue_final_message":true,"model":"m",)"
            R"("messages":[{"role":"user","content":"x"},{"role":"assistant","content":"a\"b"}],)"
            R"("stream":true,"max_tokens":7,"user":null})");
  EXPECT_EQ(llama().resume_text(request, {.text = "a", .max_tokens = 7}).body,
            R"({"model":"m","messages":[{"role":"user","content":"x"},)"
            R"({"role":"assistant","content":"a"}],"stream":true,"max_tokens":7,"user":null})");
}

TEST(DialectText, CompletionsGetItBehindThePrompt) {
  const auto request =
      scan(Endpoint::kCompletions, R"({"prompt":"Once \u00fc","stream":true,"min_tokens":9})");
  const auto& vllm = Dialect::of(Kind::kVllm);
  ASSERT_EQ(vllm.text_refused_by(request), std::nullopt);
  const auto call = vllm.resume_text(request, {.text = " upon", .max_tokens = 12, .min_tokens = 5});
  EXPECT_EQ(call.body,
            R"({"max_tokens":12,"prompt":"Once \u00fc upon","stream":true,"min_tokens":5})");
}

TEST(DialectText, RefusesWhatItCannotContinue) {
  const auto refused = [](Endpoint endpoint, const std::string& body) {
    return Dialect::of(Kind::kOpenAi).text_refused_by(scan(endpoint, body)).value_or("");
  };
  const std::string user = R"("messages":[{"role":"user","content":"x"}])";
  EXPECT_EQ(refused(Endpoint::kChat, "{" + user + "}"), "no stream");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"tools":[{}],)" + user + "}"), "tools");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"n":2,)" + user + "}"), "n");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"mystery":2,)" + user + "}"),
            "unknown field: mystery");
  EXPECT_EQ(refused(Endpoint::kChat,
                    R"({"stream":true,"messages":[{"role":"assistant","content":"x"}]})"),
            "last message");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"messages":[]})"), "last message");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"({"stream":true,"prompt":[1,2]})"), "prompt of ids");
}

TEST(DialectResume, VllmStatesEverything) {
  const auto request = scan(
      Endpoint::kChat,
      R"({"model":"a/b","messages":[{"role":"user","content":"x"}],"stream":true,)"
      R"("max_tokens":90,"n":1,)"
      R"("temperature":0.5,"seed":3,"stop":["\u00e9"],"stop_token_ids":[9],"min_p":0.1,"user":"u",)"
      R"("stream_options":{"include_usage":true},"cache_salt":"s","priority":2,"tools":[]})");
  ASSERT_EQ(vllm().tokens_refused_by(request), std::nullopt);
  const auto call = vllm().resume(request, {{1, 2}, {7, 8, 9}, 40, 0});
  EXPECT_EQ(call.path, "/v1/completions");
  EXPECT_EQ(call.body,
            R"({"model":"a/b","prompt":[1,2,7,8,9],"max_tokens":40,"stream":true,"stream_options":)"
            R"({"include_usage":true,"continuous_usage_stats":true},"return_token_ids":true,)"
            R"("add_special_tokens":false,"temperature":0.5,"seed":3,"stop":["\u00e9"],)"
            R"("stop_token_ids":[9],"min_p":0.1,"user":"u","cache_salt":"s","priority":2})");
}

TEST(DialectResume, VllmRebasedMinimumGoesAlong) {
  const auto request =
      scan(Endpoint::kCompletions, R"({"prompt":"x","stream":true,"min_tokens":9})");
  const auto body = vllm().resume(request, {{1}, {2}, 5, 8}).body;
  EXPECT_NE(body.find(R"("min_tokens":8)"), std::string::npos);
  EXPECT_EQ(body.find(R"("min_tokens":9)"), std::string::npos);
}

TEST(DialectResume, LlamaGoesToItsOwnEndpoint) {
  const auto request =
      scan(Endpoint::kChat,
           R"({"model":"m","messages":[],"stream":true,"max_tokens":90,"temperature":0,)"
           R"("stop":"a\"b","repeat_penalty":1.1,"cache_prompt":true,"mirostat_tau":5})");
  ASSERT_EQ(llama().tokens_refused_by(request), std::nullopt);
  const auto call = llama().resume(request, {{1, 2}, {3}, 7, 0});
  EXPECT_EQ(call.path, "/completion");
  EXPECT_EQ(call.body,
            R"({"prompt":[1,2,3],"n_predict":7,"stream":true,"return_tokens":true,"stop":["a\"b"],)"
            R"("temperature":0,"repeat_penalty":1.1,"cache_prompt":true})");
}

TEST(DialectResumeDeathTest, NothingLeftIsNeverAskedFor) {
  const auto request = scan(Endpoint::kCompletions, R"({"prompt":"x","stream":true})");
  EXPECT_DEATH(llama().resume(request, {{1}, {2}, 0, 0}), "max_tokens > 0");
}

// A request without any optional field: what the endpoints then do differs.
TEST(DialectNoOptionalField, VllmCompletionsWriteSixteenTokens) {
  const auto request =
      scan(Endpoint::kCompletions, recorded_request(Kind::kVllm, "completions-no-limit-sent"));
  EXPECT_EQ(
      vllm().tokens_refused_by(scan(Endpoint::kCompletions, R"({"prompt":"x","stream":true})")),
      std::nullopt);
  EXPECT_EQ(vllm().default_max_tokens(request, 2048, 4), 16);
  EXPECT_EQ(vllm().default_max_tokens(request, 2048, 2040), 8);
  std::size_t tokens = 0;
  for (const auto& event : recorded_events(Kind::kVllm, "completions-no-limit-sent")) {
    tokens += event.find("\"text\":") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(tokens, 16U);
}

TEST(DialectNoOptionalField, EverythingElseFillsTheModel) {
  const auto chat = scan(Endpoint::kChat, R"({"messages":[],"stream":true})");
  const auto completion = scan(Endpoint::kCompletions, R"({"prompt":"x","stream":true})");
  EXPECT_EQ(vllm().default_max_tokens(chat, 2048, 36), 2012);
  EXPECT_EQ(llama().default_max_tokens(chat, 2048, 36), 2012);
  EXPECT_EQ(llama().default_max_tokens(completion, 2048, 36), 2012);
  EXPECT_EQ(llama().default_max_tokens(completion, 0, 36), -1);
  EXPECT_EQ(vllm().default_max_tokens(chat, 2048, 3000), 0);
  EXPECT_EQ(llama().tokens_refused_by(chat), std::nullopt);
  EXPECT_EQ(llama().resume(chat, {{1}, {2}, 2000, 0}).body,
            R"({"prompt":[1,2],"n_predict":2000,"stream":true,"return_tokens":true})");
  EXPECT_EQ(
      vllm().resume(chat, {{1}, {2}, 2000, 0}).body,
      R"({"prompt":[1,2],"max_tokens":2000,"stream":true,"stream_options":{"include_usage":true,)"
      R"("continuous_usage_stats":true},"return_token_ids":true,"add_special_tokens":false})");
}

TEST(DialectLimit, ClientsLimitIsCutToWhatFits) {
  const auto request = scan(Endpoint::kChat, R"({"max_completion_tokens":100})");
  EXPECT_EQ(vllm().default_max_tokens(request, 2048, 36), 100);
  EXPECT_EQ(vllm().default_max_tokens(request, 64, 36), 28);
  EXPECT_EQ(vllm().default_max_tokens(request, -1, 36), 100);
}

TEST(DialectFirst, BodiesStayValidJsonForEveryRecordedRequest) {
  for (const auto* name :
       {"chat-stream", "chat-emoji-ids", "completions-stream-ids", "completions-stop-cut"}) {
    const auto endpoint =
        std::string_view(name).starts_with("chat") ? Endpoint::kChat : Endpoint::kCompletions;
    const auto request = scan(endpoint, recorded_request(Kind::kVllm, name));
    const auto body = vllm().first(request, true).body;
    EXPECT_NO_THROW({ boost::json::parse(body); }) << body;
  }
}

TEST(DialectLoad, ReadsVllmsRealPage) {
  const auto load = vllm().load(recorded_body(Kind::kVllm, "metrics"));
  EXPECT_EQ(load.running, 0);
  EXPECT_EQ(load.waiting, 0);
  EXPECT_EQ(load.kv_used, 0);
  EXPECT_EQ(load.prompt_tokens_total, 473);
  EXPECT_EQ(load.generation_tokens_total, 262);
}

TEST(DialectLoad, ReadsLlamasRealPage) {
  const auto load = llama().load(recorded_body(Kind::kLlamaCpp, "metrics"));
  EXPECT_EQ(load.running, 0);
  EXPECT_EQ(load.waiting, 0);
  EXPECT_EQ(load.kv_used, -1);
  EXPECT_EQ(load.prompt_tokens_total, 115);
  EXPECT_EQ(load.generation_tokens_total, 204);
}

TEST(DialectLoad, SumsRanksAndTakesTheFullestCache) {
  const auto load = vllm().load(
      "vllm:num_requests_running{engine=\"0\",x=\"a}b\"} 3\n"
      "vllm:num_requests_running{engine=\"1\"} 4.0 1700000000\n"
      "vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 9\n"
      "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n"
      "vllm:num_requests_waiting NaN\n#\n\ngarbage\nvllm:num_requests_waiting{");
  EXPECT_EQ(load.running, 7);
  EXPECT_EQ(load.kv_used, 0.75);
  EXPECT_EQ(load.waiting, -1);
}

TEST(DialectPaths, AreTheEnginesOwn) {
  EXPECT_EQ(vllm().health_path(), "/health");
  EXPECT_EQ(llama().metrics_path(), "/metrics");
  EXPECT_EQ(Dialect::of(Kind::kOpenAi).health_path(), "/v1/models");
  EXPECT_EQ(to_string(Kind::kLlamaCpp), "llama.cpp");
}

TEST(WithModel, ChangesTheNameAndNothingElse) {
  const auto request = scan_request(core::Endpoint::kCompletions,
                                    R"({ "prompt" : "a", "model": "m\u0031" , "x":1})");
  ASSERT_TRUE(request.has_value());
  const auto renamed = with_model(*request, "n \"2\"");
  ASSERT_TRUE(renamed.has_value());
  EXPECT_EQ(renamed->body, R"({ "prompt" : "a", "model": "n \"2\"" , "x":1})");
  EXPECT_EQ(renamed->model, "n \"2\"");
}

TEST(WithModel, AddsOneWhereTheClientGaveNone) {
  const auto request = scan_request(core::Endpoint::kCompletions, R"({"prompt":"a"})");
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(with_model(*request, "n")->body, R"({"model":"n","prompt":"a"})");
}

}  // namespace
}  // namespace hf::engine
