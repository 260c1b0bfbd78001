// One test a row of the feature table: with a value that is allowed, and with one that is not.
#include "engine/allow_list.hpp"

#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>

namespace hf::engine {
namespace {

using core::Endpoint;

/// Values of a field that must allow and must forbid mode `tokens`; empty: no value does.
struct Row {
  const char* allowed;
  const char* refused;
};

const std::map<std::string, Row> kVllmRows = {
    {"model", {"\"m\"", ""}},
    {"messages", {"[]", ""}},
    {"prompt", {"\"x\"", "[\"x\"]"}},
    {"stream", {"true", ""}},
    {"stream_options", {"{\"include_usage\":true}", "{\"other\":true}"}},
    {"max_tokens", {"9", "\"9\""}},
    {"max_completion_tokens", {"9", "9.5"}},
    {"min_tokens", {"3", "\"3\""}},
    {"stop", {"[\"a\"]", "7"}},
    {"stop_token_ids", {"[2]", "[\"2\"]"}},
    {"ignore_eos", {"true", "\"yes\""}},
    {"temperature", {"0.7", "\"hot\""}},
    {"top_p", {"0.9", ""}},
    {"top_k", {"5", ""}},
    {"min_p", {"0.1", ""}},
    {"seed", {"1", ""}},
    {"repetition_penalty", {"1.2", ""}},
    {"logit_bias", {"{\"5\":1}", ""}},
    {"allowed_token_ids", {"[1,2]", ""}},
    {"priority", {"1", ""}},
    {"cache_salt", {"\"s\"", ""}},
    {"user", {"\"u\"", ""}},
    {"request_id", {"\"r\"", ""}},
    {"metadata", {"{\"a\":\"b\"}", ""}},
    {"store", {"false", "true"}},
    {"service_tier", {"\"auto\"", ""}},
    {"add_special_tokens", {"true", ""}},
    {"add_generation_prompt", {"false", ""}},
    {"continue_final_message", {"true", ""}},
    {"chat_template", {"\"{{ x }}\"", ""}},
    {"chat_template_kwargs", {"{}", "{\"enable_thinking\":true}"}},
    {"documents", {"null", "[{}]"}},
    {"mm_processor_kwargs", {"null", "{\"a\":1}"}},
    {"parallel_tool_calls", {"true", ""}},
    {"tools", {"[]", "[{}]"}},
    {"tool_choice", {"\"none\"", "\"auto\""}},
    {"functions", {"[]", "[{}]"}},
    {"function_call", {"\"none\"", "\"auto\""}},
    {"response_format", {"{\"type\":\"text\"}", "{\"type\":\"json_object\"}"}},
    {"structured_outputs", {"null", "{\"json\":{}}"}},
    {"guided_json", {"null", "{\"type\":\"object\"}"}},
    {"guided_regex", {"null", "\"a+\""}},
    {"guided_choice", {"null", "[\"a\"]"}},
    {"guided_grammar", {"null", "\"root\""}},
    {"reasoning_effort", {"null", "\"low\""}},
    {"include_reasoning", {"true", "false"}},
    {"thinking_token_budget", {"null", "0"}},
    {"presence_penalty", {"0.0", "0.5"}},
    {"frequency_penalty", {"0", "-0.5"}},
    {"bad_words", {"[]", "[\"x y\"]"}},
    {"n", {"1", "2"}},
    {"best_of", {"1", "2"}},
    {"use_beam_search", {"false", "true"}},
    {"echo", {"false", "true"}},
    {"suffix", {"null", "\"z\""}},
    {"prompt_embeds", {"null", "\"AA==\""}},
    {"logprobs", {"false", "0"}},
    {"top_logprobs", {"0", "2"}},
    {"prompt_logprobs", {"null", "0"}},
    {"return_token_ids", {"false", "true"}},
    {"return_tokens_as_token_ids", {"false", "true"}},
    {"include_stop_str_in_output", {"false", "true"}},
    {"skip_special_tokens", {"true", "false"}},
    {"spaces_between_special_tokens", {"true", "false"}},
    {"truncate_prompt_tokens", {"null", "10"}},
    {"kv_transfer_params", {"null", "{\"a\":1}"}},
    {"vllm_xargs", {"{}", "{\"a\":1}"}},
};

const std::map<std::string, Row> kLlamaRows = {
    {"model", {"\"m\"", ""}},
    {"messages", {"[]", ""}},
    {"prompt", {"\"x\"", "[\"x\"]"}},
    {"stream", {"true", ""}},
    {"stream_options", {"{\"include_usage\":true}", "{\"other\":true}"}},
    {"max_tokens", {"9", "\"9\""}},
    {"max_completion_tokens", {"9", "9.5"}},
    {"n_predict", {"-1", "\"9\""}},
    {"stop", {"\"a\"", "7"}},
    {"ignore_eos", {"true", "\"yes\""}},
    {"temperature", {"0.7", "\"hot\""}},
    {"dynatemp_range", {"0.1", ""}},
    {"dynatemp_exponent", {"1.0", ""}},
    {"top_k", {"5", ""}},
    {"top_p", {"0.9", ""}},
    {"min_p", {"0.1", ""}},
    {"top_n_sigma", {"1", ""}},
    {"typical_p", {"0.9", ""}},
    {"xtc_probability", {"0.1", ""}},
    {"xtc_threshold", {"0.1", ""}},
    {"min_keep", {"1", ""}},
    {"samplers", {"[\"top_k\"]", ""}},
    {"seed", {"1", ""}},
    {"repeat_last_n", {"64", ""}},
    {"repeat_penalty", {"1.2", ""}},
    {"logit_bias", {"[[5,1]]", ""}},
    {"cache_prompt", {"false", ""}},
    {"lora", {"[{\"id\":0,\"scale\":1}]", ""}},
    {"id_slot", {"-1", "1"}},
    {"user", {"\"u\"", ""}},
    {"metadata", {"{\"a\":\"b\"}", ""}},
    {"store", {"false", "true"}},
    {"service_tier", {"\"auto\"", ""}},
    {"add_generation_prompt", {"true", ""}},
    {"chat_template_kwargs", {"{}", "{\"enable_thinking\":true}"}},
    {"parallel_tool_calls", {"true", ""}},
    {"tools", {"[]", "[{}]"}},
    {"tool_choice", {"\"none\"", "\"auto\""}},
    {"response_format", {"{\"type\":\"text\"}", "{\"type\":\"text\",\"schema\":{}}"}},
    {"grammar", {"\"\"", "\"root ::= x\""}},
    {"json_schema", {"null", "{\"type\":\"object\"}"}},
    {"reasoning_effort", {"null", "\"low\""}},
    {"reasoning_format", {"\"none\"", "\"deepseek\""}},
    {"presence_penalty", {"0.0", "0.5"}},
    {"frequency_penalty", {"0", "-0.5"}},
    {"dry_multiplier", {"0.0", "0.8"}},
    {"dry_base", {"1.75", ""}},
    {"dry_allowed_length", {"2", ""}},
    {"dry_penalty_last_n", {"64", ""}},
    {"dry_sequence_breakers", {"[\":\"]", ""}},
    {"mirostat", {"0", "2"}},
    {"mirostat_tau", {"5", ""}},
    {"mirostat_eta", {"0.1", ""}},
    {"adaptive_target", {"-1.0", "0.5"}},
    {"adaptive_decay", {"0.9", ""}},
    {"n_keep", {"0", "5"}},
    {"n_discard", {"0", "5"}},
    {"n_indent", {"0", "2"}},
    {"t_max_predict_ms", {"0", "100"}},
    {"n", {"1", "2"}},
    {"best_of", {"1", "2"}},
    {"echo", {"false", "true"}},
    {"suffix", {"\"\"", "\"z\""}},
    {"logprobs", {"false", "true"}},
    {"top_logprobs", {"0", "2"}},
    {"n_probs", {"0", "1"}},
    {"post_sampling_probs", {"false", "true"}},
    {"timings_per_token", {"false", "true"}},
    {"return_tokens", {"false", "true"}},
    {"return_progress", {"false", "true"}},
    {"verbose", {"false", "true"}},
};

struct Case {
  Kind kind;
  FieldRule rule;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Kind kind : {Kind::kVllm, Kind::kLlamaCpp}) {
    for (const FieldRule& rule : field_rules(kind)) all.push_back({kind, rule});
  }
  return all;
}

std::optional<std::string> refused_by(Kind kind, Endpoint endpoint, std::string_view field,
                                      std::string_view value) {
  std::string body = "{";
  if (field != "stream") body += "\"stream\":true,";
  body.append("\"").append(field).append("\":").append(value).append("}");
  const auto request = scan_request(endpoint, body);
  EXPECT_TRUE(request) << body;
  return request ? Dialect::of(kind).tokens_refused_by(*request) : "not accepted";
}

class AllowListRow : public testing::TestWithParam<Case> {};

TEST_P(AllowListRow, AllowsAndForbids) {
  const auto& [kind, rule] = GetParam();
  const auto& rows = kind == Kind::kVllm ? kVllmRows : kLlamaRows;
  const auto row = rows.find(std::string(rule.name));
  ASSERT_NE(row, rows.end()) << "a row of the table without a test: " << rule.name;
  for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kCompletions}) {
    const bool here =
        rule.where == Where::kBoth || (rule.where == Where::kChat) == (endpoint == Endpoint::kChat);
    const auto allowed = refused_by(kind, endpoint, rule.name, row->second.allowed);
    EXPECT_EQ(allowed.has_value(), !here) << *allowed;
    if (!here) continue;
    if (rule.name != "stream") {
      EXPECT_EQ(refused_by(kind, endpoint, rule.name, "null"),
                rule.name == "messages" || rule.name == "prompt"
                    ? std::optional<std::string>("unread value: " + std::string(rule.name))
                    : std::nullopt);
    }
    if (*row->second.refused == '\0') {
      EXPECT_EQ(rule.allowed, Allowed::kAny);
    } else {
      EXPECT_TRUE(refused_by(kind, endpoint, rule.name, row->second.refused));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Table, AllowListRow, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& info) {
                           return std::string(info.param.kind == Kind::kVllm ? "vllm_" : "llama_") +
                                  std::string(info.param.rule.name);
                         });

TEST(AllowList, EveryTestedRowIsInTheTable) {
  EXPECT_EQ(field_rules(Kind::kVllm).size(), kVllmRows.size());
  EXPECT_EQ(field_rules(Kind::kLlamaCpp).size(), kLlamaRows.size());
}

TEST(AllowList, ForbidsWhatItDoesNotKnow) {
  EXPECT_EQ(refused_by(Kind::kVllm, Endpoint::kChat, "nonsense_field", "1"),
            "unknown field: nonsense_field");
  EXPECT_EQ(refused_by(Kind::kLlamaCpp, Endpoint::kChat, "min_tokens", "1"),
            "unknown field: min_tokens");
  EXPECT_EQ(refused_by(Kind::kVllm, Endpoint::kCompletions, "tools", "[]"), "unknown field: tools");
}

/// Each feature that no single field shows: a body that has it.
std::optional<std::string> refused(Endpoint endpoint, std::string body, Kind kind = Kind::kVllm) {
  const auto request = scan_request(endpoint, std::move(body));
  EXPECT_TRUE(request);
  return request ? Dialect::of(kind).tokens_refused_by(*request) : "not accepted";
}

TEST(AllowList, ForbidsByFeatures) {
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"n":1,"n":1})"), "duplicate field: n");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"stop":5})"), "unread value: stop");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"max_tokens":5,"max_completion_tokens":6})"),
            "two limits");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"min_tokens":5,"stop":["x"]})"),
            "min_tokens with stop");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"({"stream":true,"prompt":[[1],[2]]})"),
            "prompt list");
  EXPECT_EQ(refused(Endpoint::kChat,
                    R"({"stream":true,"messages":[{"content":[{"type":"image_url"}]}]})"),
            "non-text content");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream":true,"stream_options":{"x":true}})"),
            "unknown stream option");
}

// What is not streamed is assembled from a stream only where that makes the same body and pays.
TEST(AllowList, OfRequestsThatDoNotStream) {
  EXPECT_EQ(refused(Endpoint::kChat, R"({"messages":[]})"), std::nullopt);
  EXPECT_EQ(refused(Endpoint::kChat, R"({"messages":[],"max_tokens":33})"), std::nullopt);
  EXPECT_EQ(refused(Endpoint::kChat, R"({"messages":[],"max_tokens":32})"), "short answer");
  EXPECT_EQ(refused(Endpoint::kCompletions, R"({"prompt":"x"})"), "short answer");  // 16 tokens
  EXPECT_EQ(refused(Endpoint::kCompletions, R"({"prompt":"x"})", Kind::kLlamaCpp), std::nullopt);
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream_options":{"include_usage":true}})"),
            "stream_options");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stream_options":null})"), std::nullopt);
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stop":"x"})"), std::nullopt);
  EXPECT_EQ(refused(Endpoint::kChat, R"({"stop":"x"})", Kind::kLlamaCpp), "stop");
  EXPECT_EQ(refused(Endpoint::kChat, R"({"tools":[{}]})"), "tools");
}

TEST(AllowList, OpenAiHasNoTokenEndpoint) {
  EXPECT_TRUE(refused(Endpoint::kChat, R"({"stream":true})", Kind::kOpenAi));
}

TEST(AllowList, TableHasEveryRowOnce) {
  const std::string table = feature_table();
  for (const Case& row : cases()) {
    const std::string cell = "| `" + std::string(row.rule.name) + "` |";
    const std::size_t first = table.find(cell);
    ASSERT_NE(first, std::string::npos) << cell;
    EXPECT_EQ(table.find(cell, first + 1), std::string::npos) << cell;
  }
  for (std::size_t i = 0; i < kFeatureCount; ++i) {
    EXPECT_NE(table.find(feature_name(static_cast<Feature>(i))), std::string::npos);
  }
}

}  // namespace
}  // namespace hf::engine
