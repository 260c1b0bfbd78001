// A resumed stream's events are the engine's own: here each recorded stream is rebuilt from its
// first events alone and must come out byte for byte.
#include "engine/skeleton.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <regex>

#include "engine/recorded_test_support.hpp"
#include "engine/stream_reader.hpp"

namespace hf::engine {
namespace {

using core::Endpoint;
using core::EventKind;
using core::Finish;

constexpr const char* kFingerprint = "\"vllm-0.32.0-92ce0c24\"";

SkeletonOptions options(Kind kind, Endpoint endpoint, bool usage = false, bool continuous = false) {
  return {kind, endpoint, usage, continuous, kind == Kind::kVllm ? kFingerprint : ""};
}

/// Rebuilds the recorded events from `from` on, from the skeleton of those before.
std::string rebuild(const SkeletonOptions& how, std::string_view name, bool ids_added,
                    std::size_t from) {
  const Called called = how.endpoint == Endpoint::kChat ? Called::kChat : Called::kCompletions;
  StreamReader reader(
      {how.kind, called, ids_added, how.include_usage, how.continuous_usage, kFingerprint});
  Skeleton skeleton(how);
  std::string out;
  std::size_t at = 0;
  Counts counts;
  for (const auto& event : recorded_events(how.kind, name)) {
    const auto read = reader.read(data_of(event));
    EXPECT_TRUE(read);
    const auto& m = read->meaning;
    if (m.prompt_tokens >= 0) counts.prompt = m.prompt_tokens;
    if (m.completion_tokens >= 0) counts.completion = m.completion_tokens;
    if (m.kind == EventKind::kDone) continue;
    if (at++ < from) {
      std::string edited;
      append_edited(edited, event, *read);
      skeleton.capture_event(edited);
      out += edited;
    } else if (m.kind == EventKind::kUsage) {
      skeleton.append_usage(out, counts);
    } else if (m.finish != Finish::kNone) {
      skeleton.append_finish(out, m.text, m.finish_text, read->stop_reason, counts);
    } else {
      skeleton.append_delta(out, m.text, counts);
    }
  }
  return out;
}

/// The recorded stream as the client of an untouched first attempt sees it, without [DONE].
std::string untouched(const SkeletonOptions& how, std::string_view name, bool ids_added) {
  const Called called = how.endpoint == Endpoint::kChat ? Called::kChat : Called::kCompletions;
  StreamReader reader(
      {how.kind, called, ids_added, how.include_usage, how.continuous_usage, kFingerprint});
  std::string out;
  for (const auto& event : recorded_events(how.kind, name)) {
    const auto read = reader.read(data_of(event));
    EXPECT_TRUE(read);
    if (!read->drop && read->meaning.kind != EventKind::kDone) append_edited(out, event, *read);
  }
  return out;
}

/// Without what a resumed stream cannot know: how fast one engine was, what its cache held.
std::string without_speed(std::string text) {
  text = std::regex_replace(text, std::regex(",\"timings\":\\{[^}]*\\}"), "");
  text = std::regex_replace(text, std::regex(",\"prompt_tokens_details\":\\{[^}]*\\}"), "");
  // llama.cpp's `created` is the time of each event.
  return std::regex_replace(text, std::regex("\"created\":[0-9]+"), "\"created\":0");
}

struct Case {
  const char* name;
  Kind kind;
  Endpoint endpoint;
  bool ids_added, usage, continuous;
};

class SkeletonRebuilds : public testing::TestWithParam<Case> {};

TEST_P(SkeletonRebuilds, FromTheFirstEvents) {
  const auto& c = GetParam();
  const auto how = options(c.kind, c.endpoint, c.usage, c.continuous);
  const std::string expected = without_speed(untouched(how, c.name, c.ids_added));
  for (const std::size_t from : {1U, 2U, 3U, 5U}) {
    EXPECT_EQ(without_speed(rebuild(how, c.name, c.ids_added, from)), expected) << from;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Recorded, SkeletonRebuilds,
    testing::Values(
        Case{"chat-stream", Kind::kVllm, Endpoint::kChat, false, false, false},
        Case{"chat-stream-ids-continuous-usage", Kind::kVllm, Endpoint::kChat, true, false, false},
        Case{"chat-stream-ids-continuous-usage", Kind::kVllm, Endpoint::kChat, true, true, false},
        Case{"chat-stop-string", Kind::kVllm, Endpoint::kChat, true, false, false},
        Case{"chat-emoji-ids", Kind::kVllm, Endpoint::kChat, true, false, false},
        Case{"completions-stop-cut", Kind::kVllm, Endpoint::kCompletions, true, false, false},
        Case{"completions-stream-ids", Kind::kVllm, Endpoint::kCompletions, true, true, false},
        Case{"chat-stream", Kind::kLlamaCpp, Endpoint::kChat, false, false, false},
        Case{"chat-stream-usage", Kind::kLlamaCpp, Endpoint::kChat, false, true, false},
        Case{"chat-stream-logprobs-timings", Kind::kLlamaCpp, Endpoint::kChat, true, false, false},
        Case{"chat-emoji-logprobs-timings", Kind::kLlamaCpp, Endpoint::kChat, true, false, false},
        Case{"completions-stream-verbose", Kind::kLlamaCpp, Endpoint::kCompletions, true, false,
             false}),
    [](const testing::TestParamInfo<Case>& info) {
      std::string name = std::string(info.param.kind == Kind::kVllm ? "vllm_" : "llama_") +
                         info.param.name + (info.param.usage ? "_usage" : "");
      for (char& c : name) c = c == '-' ? '_' : c;
      return name;
    });

// Continuous usage is told in events with a `usage` of the choice's own shape; the role's shows it.
TEST(Skeleton, RebuildsContinuousUsage) {
  const auto how = options(Kind::kVllm, Endpoint::kChat, true, true);
  const std::string expected = untouched(how, "chat-stream-ids-continuous-usage", true);
  for (const std::size_t from : {1U, 2U, 6U}) {
    EXPECT_EQ(rebuild(how, "chat-stream-ids-continuous-usage", true, from), expected);
  }
}

const char* const kVllmRole =
    R"({"id":"i","object":"chat.completion.chunk","created":5,"model":"m","choices":[)"
    R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,)"
    R"("finish_reason":null}],)"
    R"("prompt_token_ids":null,"prompt_text":null})";

TEST(Skeleton, RoleChunkComesBackAsItWas) {
  Skeleton skeleton(options(Kind::kVllm, Endpoint::kChat));
  skeleton.capture(kVllmRole);
  ASSERT_TRUE(skeleton.ready());
  EXPECT_FALSE(skeleton.settled());
  std::string out;
  skeleton.append_role(out, {});
  EXPECT_EQ(out, "data: " + std::string(kVllmRole) + "\n\n");
}

TEST(Skeleton, ContentEventsReplaceTheRoleChunk) {
  Skeleton skeleton(options(Kind::kVllm, Endpoint::kChat));
  skeleton.capture(kVllmRole);
  skeleton.capture(R"({"id":"i","choices":[{"index":0,"delta":{"content":"x"},)"
                   R"("finish_reason":null,"extra":1}]})");
  EXPECT_TRUE(skeleton.settled());
  skeleton.capture(
      R"({"id":"j","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]})");
  std::string out;
  skeleton.append_delta(out, "a\"b\n🎉", {});
  EXPECT_EQ(out,
            "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\\"b\\n🎉\"},"
            "\"finish_reason\":null,\"extra\":1}]}\n\n");
}

TEST(Skeleton, VllmTellsWhatStoppedIt) {
  Skeleton skeleton(options(Kind::kVllm, Endpoint::kChat));
  skeleton.capture(kVllmRole);
  std::string out;
  skeleton.append_finish(out, "end", "stop", "\"wo\\\"rd\"", {});
  EXPECT_EQ(
      out,
      "data: {\"id\":\"i\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\","
      "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"end\"},\"logprobs\":null,"
      "\"finish_reason\":\"stop\",\"stop_reason\":\"wo\\\"rd\",\"token_ids\":null}],"
      "\"system_fingerprint\":\"vllm-0.32.0-92ce0c24\"}\n\n");
}

TEST(Skeleton, CapturedFromAnEndItMakesDeltas) {
  Skeleton skeleton(options(Kind::kVllm, Endpoint::kChat, true));
  skeleton.capture(R"({"id":"i","choices":[{"index":0,"delta":{},"finish_reason":"length",)"
                   R"("stop_reason":null,"token_ids":null}],)"
                   R"("system_fingerprint":"f"})");
  ASSERT_TRUE(skeleton.ready());
  std::string out;
  skeleton.append_delta(out, "x", {});
  skeleton.append_usage(out, {3, 4});
  EXPECT_EQ(out,
            "data: "
            "{\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_"
            "reason\":null,"
            "\"token_ids\":null}]}\n\n"
            "data: {\"id\":\"i\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"total_tokens\":7,"
            "\"completion_tokens\":4},\"system_fingerprint\":\"vllm-0.32.0-92ce0c24\"}\n\n");
}

TEST(Skeleton, LlamaWritesLeftTextBeforeItsFinish) {
  Skeleton skeleton(options(Kind::kLlamaCpp, Endpoint::kChat));
  skeleton.capture(R"({"choices":[{"finish_reason":null,"index":0,"delta":)"
                   R"({"role":"assistant","content":null}}],)"
                   R"("id":"i","object":"o"})");
  std::string out;
  skeleton.append_finish(out, "x", "stop", "", {});
  EXPECT_EQ(out,
            "data: "
            "{\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\"x\"}}],"
            "\"id\":\"i\",\"object\":\"o\"}\n\n"
            "data: "
            "{\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"delta\":{}}],\"id\":\"i\","
            "\"object\":\"o\"}\n\n");
}

TEST(Skeleton, UsageIsWrittenOnlyWhereItWasAskedFor) {
  Skeleton skeleton(options(Kind::kVllm, Endpoint::kChat));
  skeleton.capture(kVllmRole);
  std::string out;
  skeleton.append_usage(out, {1, 2});
  EXPECT_EQ(out, "");
}

TEST(Skeleton, LooksAwayFromWhatHasNoChoice) {
  Skeleton skeleton(options(Kind::kVllm, Endpoint::kChat));
  for (const auto* data :
       {"", "[DONE]", "{", "[]", "{\"choices\":[]}", "{\"choices\":5}", "{\"error\":{}}"}) {
    skeleton.capture(data);
    skeleton.capture_event("data: " + std::string(data) + "\n\n");
    EXPECT_FALSE(skeleton.ready()) << data;
  }
  skeleton.capture_event("no data here");
  EXPECT_FALSE(skeleton.ready());
}

}  // namespace
}  // namespace hf::engine
