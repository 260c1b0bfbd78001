#include "engine/request.hpp"

#include <gtest/gtest.h>

namespace hf::engine {
namespace {

using core::Endpoint;

ClientRequest chat(std::string body) {
  auto request = scan_request(Endpoint::kChat, std::move(body));
  EXPECT_TRUE(request) << request.error().detail;
  return request.value_or(ClientRequest{});
}

ClientRequest completion(std::string body) {
  auto request = scan_request(Endpoint::kCompletions, std::move(body));
  EXPECT_TRUE(request) << request.error().detail;
  return request.value_or(ClientRequest{});
}

std::string refusal(std::string body) {
  const auto request = scan_request(Endpoint::kChat, std::move(body));
  return request ? "accepted" : request.error().detail;
}

TEST(Request, ReadsTheFieldsThatMatter) {
  const auto request = completion(
      R"({"model":"m\u00e9","prompt":"Hi \"you\"","max_tokens":9,"min_tokens":2,"temperature":0.0,)"
      R"("stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},)"
      R"("stop":["a","","b\n"],"stop_token_ids":[2,3],"ignore_eos":true})");
  EXPECT_EQ(request.model, "mé");
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.include_usage);
  EXPECT_TRUE(request.continuous_usage);
  EXPECT_EQ(request.max_tokens, 9);
  EXPECT_EQ(request.min_tokens, 2);
  EXPECT_TRUE(request.greedy);
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b\n"}));
  EXPECT_EQ(request.stop_token_ids, (std::vector<core::TokenId>{2, 3}));
  EXPECT_EQ(request.prompt_bytes, 12U);
  EXPECT_FALSE(request.has_prompt_ids);
  EXPECT_EQ(request.value_of(*request.find("prompt")), R"("Hi \"you\"")");
  EXPECT_TRUE(request.has(Feature::kMinTokensWithStop));
}

TEST(Request, ReadsNothingIntoABareBody) {
  const auto request = chat(R"({})");
  EXPECT_EQ(request.model, "");
  EXPECT_FALSE(request.stream);
  EXPECT_FALSE(request.greedy);
  EXPECT_FALSE(request.max_tokens);
  EXPECT_EQ(request.features, 0U);
}

TEST(Request, KnowsPromptsOfIdsFromListsOfPrompts) {
  EXPECT_EQ(completion(R"({"prompt":[1, 2,3]})").prompt_ids, (std::vector<core::TokenId>{1, 2, 3}));
  for (const auto* body :
       {R"({"prompt":["a","b"]})", R"({"prompt":["a"]})", R"({"prompt":[[1,2]]})",
        R"({"prompt":[]})", R"({"prompt":[1,"a"]})", R"({"prompt":[1.5]})"}) {
    const auto request = completion(body);
    EXPECT_FALSE(request.has_prompt_ids) << body;
    EXPECT_TRUE(request.has(Feature::kPromptList)) << body;
  }
}

TEST(Request, KnowsTextFromOtherContent) {
  EXPECT_FALSE(
      chat(R"({"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null},)"
           R"({"role":"user","content":[{"type":"text","text":"y"}]}]})")
          .has(Feature::kNonTextContent));
  for (const auto* body :
       {R"({"messages":[{"content":[{"type":"text"},{"type":"image_url","image_url":{}}]}]})",
        R"({"messages":[{"content":[{"type":"input_audio"}]}]})", R"({"messages":[{"content":5}]})",
        R"({"messages":["x"]})", R"({"messages":[{"content":["x"]}]})",
        R"({"messages":[{"cont\u0065nt":[{"type":"image_url"}]}]})",
        R"({"messages":[{"content":"x","audio":{"id":"a"}}]})"}) {
    EXPECT_TRUE(chat(body).has(Feature::kNonTextContent)) << body;
  }
}

TEST(Request, TakesTheTighterOfTwoLimitsAndSaysSo) {
  EXPECT_EQ(chat(R"({"max_completion_tokens":5})").max_tokens, 5);
  EXPECT_EQ(chat(R"({"n_predict":6,"max_tokens":null})").max_tokens, 6);
  EXPECT_EQ(chat(R"({"n_predict":-1})").max_tokens, std::nullopt);
  EXPECT_FALSE(chat(R"({"max_tokens":7,"max_completion_tokens":7})").has(Feature::kTwoLimits));
  const auto two = chat(R"({"max_tokens":7,"max_completion_tokens":5})");
  EXPECT_TRUE(two.has(Feature::kTwoLimits));
  EXPECT_EQ(two.max_tokens, 5);
}

TEST(Request, LeavesWrongTypesToTheEngineButRemembersThem) {
  for (const auto& [body, name] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"max_tokens":"9"})", "max_tokens"},
           {R"({"max_tokens":9.0})", "max_tokens"},
           {R"({"min_tokens":[]})", "min_tokens"},
           {R"({"stop":5})", "stop"},
           {R"({"stop":[1]})", "stop"},
           {R"({"stop_token_ids":"2"})", "stop_token_ids"},
           {R"({"stream_options":true})", "stream_options"},
           {R"({"stream_options":{"include_usage":1}})", "stream_options"},
           {R"({"temperature":"0"})", "temperature"},
           {R"({"ignore_eos":1})", "ignore_eos"},
           {R"({"messages":"x"})", "messages"}}) {
    const auto request = chat(body);
    EXPECT_TRUE(request.has(Feature::kUnreadValue)) << body;
    EXPECT_EQ(request.unread_field, name) << body;
  }
}

TEST(Request, SeesDuplicatesThroughEscapes) {
  const auto request = chat(R"({"n":1,"\u006e":2})");
  EXPECT_TRUE(request.has(Feature::kDuplicateField));
  EXPECT_EQ(request.duplicate_field, "n");
  EXPECT_EQ(request.value_of(*request.find("n")), "2");
}

TEST(Request, KnowsUnknownStreamOptions) {
  EXPECT_TRUE(
      chat(R"({"stream_options":{"include_obfuscation":false}})").has(Feature::kStreamOption));
  EXPECT_FALSE(chat(R"({"stream_options":{"continuous_usage_stats":true}})").continuous_usage);
}

TEST(Request, RefusesWithAWordForTheClient) {
  EXPECT_NE(refusal("").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refusal(R"({"model":"m")").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refusal(R"({"model":"m"}x)").find("not valid JSON"), std::string::npos);
  EXPECT_EQ(refusal("[]"), "the body must be a JSON object");
  EXPECT_EQ(refusal(R"({"model":5})"), "'model' must be a string");
  EXPECT_EQ(refusal(R"({"stream":"yes"})"), "'stream' must be true or false");
  std::string many = "{\"a\":1";
  for (int i = 0; i < 300; ++i) many += ",\"f" + std::to_string(i) + "\":1";
  EXPECT_EQ(refusal(many + "}"), "the body has more than 256 fields");
}

TEST(ScanRequest, CountsTheChoicesThatItsAnswerWillHave) {
  const auto count = [](std::string_view body) {
    auto request = scan_request(core::Endpoint::kCompletions, std::string(body));
    return request ? choices_of(*request) : -1;
  };
  EXPECT_EQ(count(R"({"prompt":"a"})"), 1);
  EXPECT_EQ(count(R"({"prompt":"a","n":null})"), 1);
  EXPECT_EQ(count(R"({"prompt":"a","n":3})"), 3);
  EXPECT_EQ(count(R"({"prompt":[1,2],"n":3})"), 3);
  EXPECT_EQ(count(R"({"prompt":"a","n":"3"})"), 0);
  EXPECT_EQ(count(R"({"prompt":["a","b"]})"), 0);
  EXPECT_EQ(count(R"({"prompt":["a","b"],"n":2})"), 0);
}

}  // namespace
}  // namespace hf::engine
