#include "engine/whole_body.hpp"

#include <gtest/gtest.h>

#include "engine/answers.hpp"
#include "engine/recorded_test_support.hpp"

namespace hf::engine {
namespace {

using core::Endpoint;

std::string without(std::string text, std::string_view from, std::string_view to,
                    std::string_view with) {
  const auto begin = text.find(from);
  const auto end = text.find(to, begin);
  EXPECT_NE(end, std::string::npos) << from;
  return text.replace(begin, end - begin, std::string(from) + std::string(with));
}

/// vLLM's recorded whole answers were asked for ids and log probabilities: as they are without.
std::string vllm_whole(Endpoint endpoint) {
  const bool chat = endpoint == Endpoint::kChat;
  auto body = recorded_body(Kind::kVllm, chat ? "chat-whole-ids" : "completions-whole-logprobs");
  body = without(body, "\"logprobs\":", ",\"finish_reason\"", "null");
  body = without(body, "\"token_ids\":", chat ? ",\"routed" : ",\"prompt_logprobs", "null");
  return without(body, "\"prompt_token_ids\":", chat ? ",\"prompt_text" : ",\"routed", "null");
}

std::string with_value(std::string body, std::initializer_list<std::string_view> path,
                       std::string_view value) {
  const auto at = find_json(body, path);
  EXPECT_TRUE(at);
  return body.replace(static_cast<std::size_t>(at->data() - body.data()), at->size(), value);
}

/// Another answer of the same engine: what a probe may have got.
std::string other_answer(std::string body, Endpoint endpoint) {
  body = with_value(body, {"id"}, "\"another\"");
  body = with_value(body, {"created"}, "1");
  body = with_value(body, {"choices", "0", "finish_reason"}, "\"stop\"");
  body = endpoint == Endpoint::kChat
             ? with_value(body, {"choices", "0", "message", "content"}, "\"Hi\\n\\\"there\\\"\"")
             : with_value(body, {"choices", "0", "text"}, "\"Hi\"");
  body = with_value(body, {"usage", "prompt_tokens"}, "3");
  body = with_value(body, {"usage", "completion_tokens"}, "4");
  return with_value(body, {"usage", "total_tokens"}, "7");
}

/// A recorded stream, assembled.
std::string assembled(Kind kind, Endpoint endpoint, std::string_view stream,
                      const WholeTemplate& form) {
  ReaderOptions options;
  options.kind = kind;
  options.called = endpoint == Endpoint::kChat ? Called::kChat : Called::kCompletions;
  options.ids_added = true;
  StreamReader reader(options);
  WholeFill fill;
  std::string text, finish, stop, usage, timings;
  for (const auto& event : recorded_events(kind, stream)) {
    const auto read = reader.read(data_of(event));
    EXPECT_TRUE(read && read->meaning.plain);
    text += read->meaning.text;
    if (read->meaning.finish != core::Finish::kNone) {
      finish = read->meaning.finish_text;
      stop = read->stop_reason;
    }
    if (!read->usage.empty()) usage = read->usage;
    if (!read->timings.empty()) timings = read->timings;
  }
  fill.identity = &reader.captured();
  fill.text = text;
  fill.finish_reason = finish;
  fill.stop_reason = stop;
  fill.usage = usage;
  fill.timings = timings;
  fill.counts = {find_int(usage, {"prompt_tokens"}).value_or(-1),
                 find_int(usage, {"completion_tokens"}).value_or(-1)};
  std::string out;
  form.append(out, fill);
  return out;
}

/// The golden comparison: every byte but those that two answers never share.
void expect_golden(Kind kind, Endpoint endpoint, const std::string& whole,
                   std::string_view stream) {
  const auto form = WholeTemplate::learn(kind, endpoint, other_answer(whole, endpoint));
  ASSERT_TRUE(form);
  auto got = assembled(kind, endpoint, stream, *form);
  // By nature of their own: two answers were generated, at two times.
  auto want = whole;
  const auto of_its_own = [&](std::initializer_list<std::string_view> path) {
    const auto value = find_json(got, path);
    ASSERT_TRUE(value);
    want = with_value(want, path, *value);
  };
  of_its_own({"id"});
  of_its_own({"created"});
  if (kind == Kind::kLlamaCpp) {
    of_its_own({"timings"});                                          // how long it took
    of_its_own({"usage", "prompt_tokens_details", "cached_tokens"});  // the cache was warmer
    of_its_own({"model"});  // the recordings name it in two ways
  }
  EXPECT_EQ(got, want);
}

TEST(WholeBody, VllmChatIsTheEnginesOwn) {
  expect_golden(Kind::kVllm, Endpoint::kChat, vllm_whole(Endpoint::kChat),
                "chat-stream-ids-continuous-usage");
}

TEST(WholeBody, VllmCompletionsAreTheEnginesOwn) {
  expect_golden(Kind::kVllm, Endpoint::kCompletions, vllm_whole(Endpoint::kCompletions),
                "completions-stream-ids");
}

TEST(WholeBody, LlamaChatIsTheEnginesOwn) {
  expect_golden(Kind::kLlamaCpp, Endpoint::kChat, recorded_body(Kind::kLlamaCpp, "chat-whole-40"),
                "chat-assembled-40");
}

TEST(WholeBody, LlamaCompletionsAreTheEnginesOwn) {
  expect_golden(Kind::kLlamaCpp, Endpoint::kCompletions,
                recorded_body(Kind::kLlamaCpp, "completions-whole"), "completions-assembled");
}

// Why such an answer is not assembled: its stream hides what the whole body shows.
TEST(WholeBody, LlamaStreamsNoHalfCharacterAtTheLimit) {
  const auto whole = recorded_body(Kind::kLlamaCpp, "completions-whole-emoji-cut");
  const auto form = WholeTemplate::learn(Kind::kLlamaCpp, Endpoint::kCompletions, whole);
  ASSERT_TRUE(form);
  const auto got =
      assembled(Kind::kLlamaCpp, Endpoint::kCompletions, "completions-assembled-emoji-cut", *form);
  const auto text = [](std::string_view body) {
    return find_string(body, {"choices", "0", "text"}).value_or("");
  };
  EXPECT_NE(text(got), text(whole));
  EXPECT_TRUE(text(whole).starts_with(text(got)));
}

TEST(WholeBody, ARecordedWholeAnswerTeachesItself) {
  EXPECT_TRUE(WholeTemplate::learn(Kind::kLlamaCpp, Endpoint::kChat,
                                   recorded_body(Kind::kLlamaCpp, "chat-whole")));
  // Log probabilities are no plain answer.
  EXPECT_FALSE(WholeTemplate::learn(Kind::kVllm, Endpoint::kChat,
                                    recorded_body(Kind::kVllm, "chat-whole-ids")));
}

TEST(WholeBody, WhatItDoesNotKnowItDoesNotLearn) {
  const auto body = vllm_whole(Endpoint::kChat);
  const auto learns = [](const std::string& text) {
    return WholeTemplate::learn(Kind::kVllm, Endpoint::kChat, text).has_value();
  };
  ASSERT_TRUE(learns(body));
  EXPECT_FALSE(WholeTemplate::learn(Kind::kOpenAi, Endpoint::kChat, body));
  EXPECT_FALSE(learns(with_value(body, {"choices", "0", "message", "reasoning"}, "\"Hm\"")));
  EXPECT_FALSE(learns(with_value(body, {"choices", "0", "message", "content"}, "null")));
  EXPECT_FALSE(learns(with_value(body, {"metrics"}, "{\"ms\":3}")));
  EXPECT_FALSE(learns(with_value(body, {"usage"}, "null")));
  EXPECT_FALSE(learns(with_value(body, {"choices"}, "[]")));
  EXPECT_FALSE(learns(body.substr(0, body.size() - 1)));
  EXPECT_FALSE(learns("nonsense"));
  EXPECT_FALSE(learns(""));
}

TEST(WholeBody, AfterAResumeOnlyCountsAreKnown) {
  const auto whole = recorded_body(Kind::kLlamaCpp, "chat-whole");
  const auto form = WholeTemplate::learn(Kind::kLlamaCpp, Endpoint::kChat, whole);
  ASSERT_TRUE(form);
  const Identity identity{"\"i\"", "5", "\"m\"", ""};
  WholeFill fill;
  fill.identity = &identity;
  fill.text = "a\"b";
  fill.finish_reason = "stop";
  fill.counts = {3, 4};
  std::string out;
  form->append(out, fill);
  EXPECT_EQ(out, R"({"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant",)"
                 R"("content":"a\"b"}}],"created":5,"model":"m","system_fingerprint":"b0-unknown",)"
                 R"("object":"chat.completion","usage":{"completion_tokens":4,"prompt_tokens":3,)"
                 R"("total_tokens":7},"id":"i"})");
}

TEST(JudgeWhole, FinishReasonsOfAnEngineThatDies) {
  const auto reason = [](const std::string& body) { return judge_whole(Kind::kVllm, body).reason; };
  EXPECT_EQ(reason(R"({"choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]})"),
            core::Reason::kNone);
  EXPECT_EQ(reason(R"({"choices":[{"finish_reason":"stop"},{"finish_reason" : "abort"}]})"),
            core::Reason::kAbort);
  EXPECT_EQ(reason(R"({"choices":[{"finish_reason":"error"}]})"), core::Reason::kAbort);
  // What the answer itself says is no finish reason.
  EXPECT_EQ(
      reason(R"({"choices":[{"text":"\"finish_reason\":\"abort\"","finish_reason":"stop"}]})"),
      core::Reason::kNone);
  EXPECT_EQ(reason(R"({"choices":[{"message":{"finish_reason":"abort"}}]})"), core::Reason::kNone);
  EXPECT_EQ(reason(R"({"anything":1})"), core::Reason::kNone);
}

TEST(JudgeWhole, ErrorsUnderStatus200) {
  auto verdict = judge_whole(Kind::kVllm, R"({"error":{"message":"it broke","code":500}})");
  EXPECT_EQ(verdict.reason, core::Reason::kInBandError);
  EXPECT_FALSE(verdict.client_error);
  verdict = judge_whole(Kind::kVllm, R"({"error":{"message":"too long","code":400}})");
  EXPECT_EQ(verdict.reason, core::Reason::kInBandError);
  EXPECT_TRUE(verdict.client_error);
  EXPECT_EQ(verdict.message, "too long");
  EXPECT_EQ(judge_whole(Kind::kVllm, R"({"object":"error","message":"x"})").reason,
            core::Reason::kInBandError);
  EXPECT_EQ(judge_whole(Kind::kVllm, R"({"error":null,"choices":[]})").reason, core::Reason::kNone);
}

TEST(JudgeWhole, NoJsonIsNoAnswer) {
  for (const auto* body : {"", "<html>", "[1]", "\"text\"", R"({"choices":)", "[DONE]"}) {
    EXPECT_EQ(judge_whole(Kind::kOpenAi, body).reason, core::Reason::kProtocol) << body;
  }
}

}  // namespace
}  // namespace hf::engine
