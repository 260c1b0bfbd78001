#include "engine/probe.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "engine/recorded_test_support.hpp"

namespace hf::engine {
namespace {

const std::string kIds =
    R"({"tokens":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26]})";
const std::string kSixteen = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]";

/// An engine as a table of answers; what was asked is kept.
struct Answers {
  std::string models, version, props, tokenize = kIds, eos = R"({"tokens":[2]})", generated;
  int status = 200;
  std::vector<std::string> asked;

  std::string operator()(const WireRequest& call) {
    asked.push_back(std::string(call.method) + " " + call.path);
    if (call.path == "/v1/models") return models;
    if (call.path == "/version") return version;
    if (call.path == "/props") return props;
    if (call.path == "/tokenize") return call.body.size() > 500 ? tokenize : eos;
    return generated;
  }
};

Answers vllm() {
  Answers answers;
  answers.models = recorded_body(Kind::kVllm, "models");
  answers.version = recorded_body(Kind::kVllm, "version");
  answers.generated = R"({"choices":[{"token_ids":)" + kSixteen +
                      R"(}],"system_fingerprint":"vllm-0.32.0-92ce0c24"})";
  return answers;
}

Answers llama() {
  Answers answers;
  answers.models = recorded_body(Kind::kLlamaCpp, "models");
  answers.props = recorded_body(Kind::kLlamaCpp, "props");
  answers.generated = R"({"tokens":)" + kSixteen + "}";
  return answers;
}

Step<EngineInfo> run(Answers& answers) {
  Probe probe;
  auto step = probe.start();
  int calls = 0;
  while (const auto* call = std::get_if<WireRequest>(&step)) {
    EXPECT_LT(++calls, 10);
    if (call->method == "POST") {
      EXPECT_NO_THROW({ boost::json::parse(call->body); });
    }
    const std::string body = answers(*call);
    step = probe.next(body.empty() ? 404 : answers.status, body);
  }
  return step;
}

EngineInfo info_of(Answers answers) {
  const auto step = run(answers);
  EXPECT_TRUE(std::holds_alternative<EngineInfo>(step));
  const auto* info = std::get_if<EngineInfo>(&step);
  return info == nullptr ? EngineInfo{} : *info;
}

TEST(Probe, TextIsOneKibibyteOfValidUtf8) {
  EXPECT_EQ(probe_text().size(), 1024U);
  std::string json;
  wire::json_append_string(json, probe_text());
  EXPECT_EQ(boost::json::parse(json).as_string(), boost::json::string_view(probe_text()));
}

TEST(Probe, KnowsVllm) {
  auto answers = vllm();
  const auto step = run(answers);
  const auto& info = std::get<EngineInfo>(step);
  EXPECT_EQ(info.kind, Kind::kVllm);
  EXPECT_EQ(info.version, "0.32.0");
  EXPECT_EQ(info.fingerprint, "\"vllm-0.32.0-92ce0c24\"");
  ASSERT_EQ(info.models.size(), 1U);
  EXPECT_EQ(info.models[0].name, "smollm2");
  EXPECT_EQ(info.models[0].root, "HuggingFaceTB/SmolLM2-135M-f32x");
  EXPECT_EQ(info.models[0].max_len, 2048);
  EXPECT_FALSE(info.models[0].is_lora);
  EXPECT_NE(info.tokens_identity, 0U);
  EXPECT_NE(info.exact_identity, 0U);
  EXPECT_EQ(answers.asked,
            (std::vector<std::string>{"GET /v1/models", "GET /version", "POST /tokenize",
                                      "POST /v1/completions", "POST /v1/chat/completions",
                                      "POST /v1/completions"}));
  EXPECT_EQ(info.whole_chat, answers.generated);
  EXPECT_EQ(info.whole_completions, answers.generated);
}

TEST(Probe, KnowsLlama) {
  auto answers = llama();
  const auto step = run(answers);
  const auto& info = std::get<EngineInfo>(step);
  EXPECT_EQ(info.kind, Kind::kLlamaCpp);
  EXPECT_EQ(info.version, "b0-unknown");
  EXPECT_EQ(info.slots, 2);
  EXPECT_EQ(info.eos_ids, std::vector<core::TokenId>{2});
  ASSERT_EQ(info.models.size(), 1U);  // the alias is the id
  EXPECT_EQ(info.models[0].max_len, 2048);
  EXPECT_EQ(info.models[0].root, info.models[0].name);
  EXPECT_NE(info.exact_identity, 0U);
  EXPECT_EQ(answers.asked,
            (std::vector<std::string>{"GET /v1/models", "GET /props", "POST /tokenize",
                                      "POST /tokenize", "POST /completion",
                                      "POST /v1/chat/completions", "POST /v1/completions"}));
}

TEST(Probe, AnythingElseIsOpenAiLike) {
  Answers answers;
  answers.models =
      R"({"object":"list","data":[{"id":"x","object":"model","owned_by":"organization-owner"}]})";
  const auto step = run(answers);
  const auto& info = std::get<EngineInfo>(step);
  EXPECT_EQ(info.kind, Kind::kOpenAi);
  ASSERT_EQ(info.models.size(), 1U);
  EXPECT_EQ(info.tokens_identity, 0U);
  EXPECT_EQ(info.exact_identity, 0U);
  EXPECT_EQ(answers.asked.size(), 1U);
}

TEST(Probe, SglangIsRecognisedAndServedAsOpenAiLike) {
  Answers answers;
  answers.models =
      R"({"object":"list","data":[{"id":"x","owned_by":"sglang","max_model_len":4096}]})";
  answers.generated = R"({"version":"0.5.23"})";
  const auto info = info_of(answers);
  EXPECT_EQ(info.kind, Kind::kOpenAi);
  EXPECT_EQ(info.name, "SGLang");
  EXPECT_EQ(info.version, "0.5.23");
  EXPECT_EQ(info.models.at(0).max_len, 4096);
  EXPECT_EQ(info.tokens_identity, 0U);
}

TEST(Probe, EqualEnginesAreEqualAndEachDifferenceCounts) {
  const EngineInfo one = info_of(vllm());
  const EngineInfo two = info_of(vllm());
  EXPECT_EQ(one.tokens_identity, two.tokens_identity);
  EXPECT_EQ(one.exact_identity, two.exact_identity);

  auto other = vllm();
  other.version = R"({"version":"0.32.1"})";
  EXPECT_EQ(info_of(other).tokens_identity, one.tokens_identity);
  EXPECT_NE(info_of(other).exact_identity, one.exact_identity);
  other = vllm();
  other.generated = R"({"choices":[{"token_ids":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,17]}]})";
  EXPECT_NE(info_of(other).exact_identity, one.exact_identity);
  other = vllm();
  other.tokenize = R"({"tokens":[1,2,4]})";
  EXPECT_NE(info_of(other).tokens_identity, one.tokens_identity);
  EXPECT_NE(info_of(other).exact_identity, one.exact_identity);
  for (const auto& [from, to] : {std::pair{"f32x", "f16x"}, std::pair{":2048", ":4096"}}) {
    other = vllm();
    other.models.replace(other.models.find(from), std::string_view(from).size(), to);
    EXPECT_EQ(info_of(other).tokens_identity, one.tokens_identity);
    EXPECT_NE(info_of(other).exact_identity, one.exact_identity);
  }
}

TEST(Probe, AnAdapterHasTheLengthOfItsParentAndItsOwnWeights) {
  auto answers = vllm();
  const auto end = answers.models.rfind("]}");
  answers.models.insert(end,
                        R"(,{"id":"pirate","owned_by":"vllm","root":"/loras/a","parent":"smollm2",)"
                        R"("max_model_len":null},{"id":"bard","owned_by":"vllm","root":"/loras/b",)"
                        R"("parent":"smollm2","max_model_len":null})");
  const EngineInfo info = info_of(answers);
  ASSERT_EQ(info.models.size(), 3U);
  EXPECT_EQ(info.models[0].adapter, 0U);
  EXPECT_TRUE(info.models[1].is_lora);
  EXPECT_EQ(info.models[1].max_len, 2048);
  EXPECT_NE(info.models[1].adapter, 0U);
  EXPECT_NE(info.models[1].adapter, info.models[2].adapter);
  EXPECT_EQ(info.exact_identity, info_of(vllm()).exact_identity);
}

TEST(Probe, WhatIsRefusedStaysUnknown) {
  auto answers = vllm();
  answers.tokenize = "";
  EXPECT_EQ(info_of(answers).tokens_identity, 0U);
  EXPECT_EQ(info_of(answers).exact_identity, 0U);
  EXPECT_EQ(info_of(answers).version, "0.32.0");
  answers = vllm();
  answers.generated = "";
  EXPECT_NE(info_of(answers).tokens_identity, 0U);
  EXPECT_EQ(info_of(answers).exact_identity, 0U);
  answers = vllm();
  answers.generated = R"({"choices":[{"token_ids":[1,2,3]}]})";
  EXPECT_EQ(info_of(answers).exact_identity, 0U);
  answers = llama();
  answers.props = "";
  EXPECT_TRUE(info_of(answers).eos_ids.empty());
  EXPECT_NE(info_of(answers).tokens_identity, 0U);
}

TEST(Probe, FailsWhenTheModelsCannotBeRead) {
  Answers answers;
  answers.models = R"({"error":{"code":503,"message":"Loading model","type":"unavailable_error"}})";
  answers.status = 503;
  auto step = run(answers);
  ASSERT_TRUE(std::holds_alternative<Error>(step));
  EXPECT_EQ(std::get<Error>(step).code, Code::kUnavailable);
  answers.status = 401;
  step = run(answers);
  EXPECT_EQ(std::get<Error>(step).code, Code::kHttpStatus);
  answers.status = 200;
  for (const auto* body : {"<html>", "{}", "{\"data\":5}"}) {
    answers.models = body;
    step = run(answers);
    ASSERT_TRUE(std::holds_alternative<Error>(step)) << body;
    EXPECT_EQ(std::get<Error>(step).code, Code::kProtocol);
  }
}

TEST(Probe, ReadsAdaptersAndAliases) {
  const auto info = Probe::read_models(
      R"({"data":[{"id":"base","owned_by":"vllm","root":"r","parent":null,"max_model_len":64},)"
      R"({"id":"tuned","owned_by":"vllm","root":"/a","parent":"base","max_model_len":null},)"
      R"({"id":"x","owned_by":"vllm","aliases":["y","x",""]},{"id":7},5]})");
  ASSERT_TRUE(info);
  ASSERT_EQ(info->models.size(), 4U);
  EXPECT_FALSE(info->models[0].is_lora);
  EXPECT_EQ(info->models[1].name, "tuned");
  EXPECT_TRUE(info->models[1].is_lora);
  EXPECT_EQ(info->models[3].name, "y");
}

}  // namespace
}  // namespace hf::engine
