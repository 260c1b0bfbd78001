#include "engine/questions.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "engine/recorded_test_support.hpp"

namespace hf::engine {
namespace {

using core::Endpoint;

ClientRequest scan(Endpoint endpoint, std::string body) {
  auto request = scan_request(endpoint, std::move(body));
  EXPECT_TRUE(request);
  return request.value_or(ClientRequest{});
}

template <class T>
const WireRequest& call_of(const Step<T>& step) {
  EXPECT_TRUE(std::holds_alternative<WireRequest>(step));
  static const WireRequest none;
  const auto* call = std::get_if<WireRequest>(&step);
  return call == nullptr ? none : *call;
}

template <class T>
T answer_of(const Step<T>& step) {
  EXPECT_TRUE(std::holds_alternative<T>(step));
  const auto* answer = std::get_if<T>(&step);
  return answer == nullptr ? T{} : *answer;
}

template <class T>
Code error_of(const Step<T>& step) {
  EXPECT_TRUE(std::holds_alternative<Error>(step));
  const auto* error = std::get_if<Error>(&step);
  return error == nullptr ? Code::kSystem : error->code;
}

bool same_json(std::string_view a, std::string_view b) {
  return boost::json::parse(std::string(a)) == boost::json::parse(std::string(b));
}

TEST(AskPromptIds, VllmChatAsksAsWasRecorded) {
  const auto request = scan(Endpoint::kChat, recorded_request(Kind::kVllm, "chat-stream"));
  AskPromptIds question(Kind::kVllm, request);
  const auto step = question.start();
  EXPECT_EQ(call_of(step).path, "/tokenize");
  EXPECT_TRUE(same_json(call_of(step).body, recorded_request(Kind::kVllm, "tokenize-chat")))
      << call_of(step).body;
  const auto ids = answer_of(question.next(200, recorded_body(Kind::kVllm, "tokenize-chat")));
  EXPECT_EQ(ids.size(), 36U);
  EXPECT_EQ(ids[1], 9690);
}

TEST(AskPromptIds, VllmTextAsksAsWasRecorded) {
  const auto request =
      scan(Endpoint::kCompletions, recorded_request(Kind::kVllm, "completions-stream-ids"));
  AskPromptIds question(Kind::kVllm, request);
  EXPECT_TRUE(
      same_json(call_of(question.start()).body, recorded_request(Kind::kVllm, "tokenize-text")));
  EXPECT_EQ(answer_of(question.next(200, recorded_body(Kind::kVllm, "tokenize-text"))),
            (Ids{504, 3575, 282, 4649, 314}));
}

TEST(AskPromptIds, VllmTakesOverWhatShapesThePrompt) {
  const auto request =
      scan(Endpoint::kChat,
           R"({"messages":[1],"add_generation_prompt":false,"continue_final_message":true,)"
           R"("chat_template":"t"})");
  AskPromptIds question(Kind::kVllm, request);
  EXPECT_EQ(
      call_of(question.start()).body,
      R"({"model":null,"messages":[1],"add_generation_prompt":false,"continue_final_message":true,)"
      R"("chat_template":"t"})");
}

TEST(AskPromptIds, LlamaChatAppliesTheTemplateFirst) {
  const auto request = scan(Endpoint::kChat, recorded_request(Kind::kLlamaCpp, "chat-stream"));
  AskPromptIds question(Kind::kLlamaCpp, request);
  const auto first = question.start();
  EXPECT_EQ(call_of(first).path, "/apply-template");
  EXPECT_TRUE(same_json(call_of(first).body, recorded_request(Kind::kLlamaCpp, "apply-template")));
  const auto second = question.next(200, recorded_body(Kind::kLlamaCpp, "apply-template"));
  EXPECT_EQ(call_of(second).path, "/tokenize");
  const auto body = boost::json::parse(call_of(second).body);
  EXPECT_TRUE(body.at("content").as_string().starts_with("<|im_start|>system\nYou are"));
  EXPECT_TRUE(body.at("add_special").as_bool());
  EXPECT_TRUE(body.at("parse_special").as_bool());
  EXPECT_EQ(answer_of(question.next(200, R"({"tokens":[1,2]})")), (Ids{1, 2}));
}

TEST(AskPromptIds, LlamaTextAsksAsWasRecorded) {
  const auto request =
      scan(Endpoint::kCompletions, recorded_request(Kind::kLlamaCpp, "completions-stream"));
  AskPromptIds question(Kind::kLlamaCpp, request);
  EXPECT_TRUE(
      same_json(call_of(question.start()).body, recorded_request(Kind::kLlamaCpp, "tokenize")));
  EXPECT_EQ(answer_of(question.next(200, recorded_body(Kind::kLlamaCpp, "tokenize"))).size(), 5U);
}

TEST(AskPromptIds, AGivenListIsTheAnswer) {
  const auto request =
      scan(Endpoint::kCompletions, recorded_request(Kind::kVllm, "completions-token-prompt"));
  EXPECT_EQ(answer_of(AskPromptIds(Kind::kVllm, request).start()),
            (Ids{504, 3575, 282, 4649, 314}));
}

TEST(AskPromptIds, FailsByKind) {
  const auto request = scan(Endpoint::kCompletions, R"({"prompt":"x"})");
  AskPromptIds question(Kind::kVllm, request);
  question.start();
  EXPECT_EQ(error_of(question.next(404, "{}")), Code::kHttpStatus);
  EXPECT_EQ(error_of(question.next(503, "")), Code::kUnavailable);
  EXPECT_EQ(error_of(question.next(200, R"({"tokens":["a"]})")), Code::kProtocol);
  EXPECT_EQ(error_of(question.next(200, "nonsense")), Code::kProtocol);
  EXPECT_EQ(error_of(AskPromptIds(Kind::kOpenAi, request).start()), Code::kUnsupported);
}

TEST(AskText, BothEnginesAsRecorded) {
  AskText vllm(Kind::kVllm, "smollm2", {504, 3575, 282});
  EXPECT_TRUE(same_json(call_of(vllm.start()).body, recorded_request(Kind::kVllm, "detokenize")));
  EXPECT_EQ(answer_of(vllm.next(200, recorded_body(Kind::kVllm, "detokenize"))), "The capital of");
  AskText llama(Kind::kLlamaCpp, "any", {504, 3575, 282});
  EXPECT_TRUE(
      same_json(call_of(llama.start()).body, recorded_request(Kind::kLlamaCpp, "detokenize")));
  EXPECT_EQ(answer_of(llama.next(200, recorded_body(Kind::kLlamaCpp, "detokenize"))),
            "The capital of");
  EXPECT_EQ(error_of(llama.next(200, "{}")), Code::kProtocol);
}

TEST(AskText, NoIdsHaveNoText) {
  EXPECT_EQ(answer_of(AskText(Kind::kVllm, "m", {}).start()), "");
}

constexpr core::TokenId kLost = core::kUnknownToken;

TEST(AskFill, MixesIdsAndTextsInOneCall) {
  // known | two lost and 227 | known | two lost and 218 | known: only the middle is sent.
  const Ids ledger = {5, kLost, kLost, 227, 9, kLost, kLost, 218, 6};
  AskFill question(Kind::kLlamaCpp, ledger, {{1, 3, "🎉"}, {5, 3, "\"🚀"}});
  const auto step = question.start();
  EXPECT_EQ(call_of(step).path, "/tokenize");
  EXPECT_EQ(call_of(step).body,
            R"({"content":["🎉",9,"\"🚀"],"add_special":false,"parse_special":false})");
  EXPECT_EQ(answer_of(question.next(200, R"({"tokens":[10813,232,227,9,10813,244,218]})")),
            (Ids{5, 10813, 232, 227, 9, 10813, 244, 218, 6}));
}

TEST(AskFill, BelievesOnlyWhatAgrees) {
  const Ids ledger = {kLost, kLost, 227, 9, kLost, 218};
  AskFill question(Kind::kLlamaCpp, ledger, {{0, 3, "a"}, {4, 2, "b"}});
  question.start();
  for (const auto* tokens :
       {"[1,2,227,9,3]", "[1,2,227,9,3,218,4]", "[1,2,228,9,3,218]", "[1,2,227,8,3,218]",
        "[1,2,227,9,3,217]", "[1,-1,227,9,3,218]", "[]"}) {
    const std::string body = std::string(R"({"tokens":)") + tokens + "}";
    EXPECT_EQ(error_of(question.next(200, body)), Code::kUnsupported) << tokens;
  }
  EXPECT_EQ(error_of(question.next(200, "{}")), Code::kProtocol);
  EXPECT_EQ(error_of(question.next(500, "{}")), Code::kHttpStatus);
}

TEST(AskFill, RefusesALedgerThatGapsDoNotCover) {
  const auto refused = [](Ids ledger, std::vector<core::LedgerGap> gaps) {
    return error_of(AskFill(Kind::kLlamaCpp, ledger, gaps).start()) == Code::kUnsupported;
  };
  EXPECT_TRUE(refused({1, kLost, 2}, {}));
  EXPECT_TRUE(refused({1, kLost, 2}, {{1, 1, "x"}}));
  EXPECT_TRUE(refused({1, kLost, 2}, {{1, 3, "x"}}));
  EXPECT_TRUE(refused({1, kLost, 2}, {{9, 1, "x"}}));
  EXPECT_TRUE(refused({1, kLost, 2}, {{1, SIZE_MAX, "x"}}));
  EXPECT_TRUE(refused({kLost, 2, 3, 4}, {{2, 1, "x"}, {0, 2, "x"}}));
  EXPECT_TRUE(refused({kLost, 2}, {{0, 0, ""}}));
}

TEST(AskFill, NothingMissingNeedsNoCallAndVllmHasNoGaps) {
  EXPECT_EQ(answer_of(AskFill(Kind::kVllm, {1, 2}, {}).start()), (Ids{1, 2}));
  EXPECT_EQ(error_of(AskFill(Kind::kVllm, {kLost, 2}, {{0, 2, "x"}}).start()), Code::kUnsupported);
}

}  // namespace
}  // namespace hf::engine
