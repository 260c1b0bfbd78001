// Events of real engines, read and edited; each trap of the engines has a test.
#include "engine/stream_reader.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <regex>

#include "base/random.hpp"
#include "engine/recorded_test_support.hpp"

namespace hf::engine {
namespace {

using core::EventKind;
using core::Finish;
using Tokens = std::vector<core::TokenId>;

constexpr const char* kFingerprint = "\"vllm-0.32.0-92ce0c24\"";

ReaderOptions vllm_options(Called called, bool ids_added = true) {
  return {Kind::kVllm, called, ids_added, false, false, kFingerprint};
}

ReaderOptions llama_options(Called called, bool ids_added = true) {
  return {Kind::kLlamaCpp, called, ids_added, false, false, ""};
}

/// One event, as values.
struct Told {
  EventKind kind;
  std::string text;
  Tokens ids, prompt_ids;
  Finish finish;
  std::string finish_text, stop_reason, error;
  std::int64_t count, prompt;
  bool plain, drop, client_error;
  std::string edited;
};

Told read_one(StreamReader& reader, const std::string& event) {
  const auto read = reader.read(data_of(event));
  EXPECT_TRUE(read) << event;
  if (!read) return {};
  const auto& m = read->meaning;
  std::string edited;
  append_edited(edited, event, *read);
  return {m.kind,
          std::string(m.text),
          Tokens(m.ids.begin(), m.ids.end()),
          Tokens(m.prompt_ids.begin(), m.prompt_ids.end()),
          m.finish,
          std::string(m.finish_text),
          std::string(read->stop_reason),
          std::string(m.error_message),
          m.completion_tokens,
          m.prompt_tokens,
          m.plain,
          read->drop,
          m.client_error,
          edited};
}

std::vector<Told> read_all(StreamReader& reader, const std::vector<std::string>& events) {
  std::vector<Told> told;
  told.reserve(events.size());
  for (const auto& event : events) told.push_back(read_one(reader, event));
  return told;
}

std::vector<Told> read_recording(ReaderOptions options, std::string_view name) {
  const Kind kind = options.kind;
  StreamReader reader(std::move(options));
  return read_all(reader, recorded_events(kind, name));
}

std::string all_text(const std::vector<Told>& told) {
  std::string text;
  for (const auto& event : told) text += event.text;
  return text;
}

Tokens all_ids(const std::vector<Told>& told) {
  Tokens ids;
  for (const auto& event : told) ids.insert(ids.end(), event.ids.begin(), event.ids.end());
  return ids;
}

/// What differs between two runs of one engine: ids, times, and the speed told.
std::string timeless(const std::string& bytes) {
  static const std::regex id("\"id\":\"[^\"]*\""), created("\"created\":[0-9]+"),
      timings("\"timings\":\\{[^}]*\\}"), cached("\"cached_tokens\":[0-9]+");
  std::string out = std::regex_replace(bytes, id, "\"id\":\"\"");
  out = std::regex_replace(out, created, "\"created\":0");
  out = std::regex_replace(out, timings, "\"timings\":{}");
  return std::regex_replace(out, cached, "\"cached_tokens\":0");
}

std::string as_client(const std::vector<Told>& told) {
  std::string out;
  for (const auto& event : told) {
    if (!event.drop) out += event.edited;
  }
  return timeless(out);
}

std::string as_sent(Kind kind, std::string_view name) {
  std::string out;
  for (const auto& event : recorded_events(kind, name)) out += event;
  return timeless(out);
}

// What a client sees of a stream that was asked for ids is what it would have seen without.

TEST(StreamReaderGolden, VllmChat) {
  const auto told = read_recording(vllm_options(Called::kChat), "chat-stream-ids-continuous-usage");
  EXPECT_EQ(as_client(told), as_sent(Kind::kVllm, "chat-stream"));
}

TEST(StreamReaderGolden, VllmChatWhereTheClientWantsUsage) {
  auto options = vllm_options(Called::kChat);
  options.include_usage = true;
  const auto told = read_recording(options, "chat-stream-ids-continuous-usage");
  // The recording that we have of this was made with ids: take these out by hand.
  std::string expected = as_sent(Kind::kVllm, "chat-stream-ids-usage");
  expected = std::regex_replace(expected, std::regex("(token_ids\":)\\[[0-9,]*\\]"), "$1null");
  EXPECT_EQ(as_client(told), expected);
}

TEST(StreamReaderGolden, VllmChatWhereTheClientWantsContinuousUsage) {
  auto options = vllm_options(Called::kChat);
  options.include_usage = options.continuous_usage = true;
  const auto told = read_recording(options, "chat-stream-ids-continuous-usage");
  std::string expected = as_sent(Kind::kVllm, "chat-stream-ids-continuous-usage");
  expected = std::regex_replace(expected, std::regex("(token_ids\":)\\[[0-9,]*\\]"), "$1null");
  EXPECT_EQ(as_client(told), expected);
}

TEST(StreamReaderGolden, LlamaChat) {
  const auto told = read_recording(llama_options(Called::kChat), "chat-stream-logprobs-timings");
  EXPECT_EQ(as_client(told), as_sent(Kind::kLlamaCpp, "chat-stream"));
}

TEST(StreamReaderGolden, LlamaCompletions) {
  const auto told =
      read_recording(llama_options(Called::kCompletions), "completions-stream-verbose");
  EXPECT_EQ(as_client(told), as_sent(Kind::kLlamaCpp, "completions-stream"));
}

TEST(StreamReaderGolden, WithoutOurFieldsNothingIsTouched) {
  for (const auto* name :
       {"chat-stream", "chat-stream-ids-usage", "chat-tool-required", "chat-stream-logprobs-n2"}) {
    const auto told = read_recording(vllm_options(Called::kChat, false), name);
    EXPECT_EQ(as_client(told), as_sent(Kind::kVllm, name)) << name;
  }
  for (const auto* name : {"chat-stream", "chat-stream-usage", "chat-stream-logprobs-timings"}) {
    const auto told = read_recording(llama_options(Called::kChat, false), name);
    EXPECT_EQ(as_client(told), as_sent(Kind::kLlamaCpp, name)) << name;
  }
}

// vLLM.

TEST(StreamReaderVllm, TellsPromptIdsCountsAndText) {
  const auto told = read_recording(vllm_options(Called::kChat), "chat-stream-ids-continuous-usage");
  ASSERT_EQ(told.size(), 15U);
  EXPECT_EQ(told[0].kind, EventKind::kRole);
  EXPECT_EQ(told[0].prompt_ids.size(), 36U);
  EXPECT_EQ(told[0].prompt_ids[0], 1);
  EXPECT_EQ(told[0].prompt, 36);
  EXPECT_EQ(told[0].count, 0);
  for (std::size_t i = 1; i <= 12; ++i) {
    EXPECT_EQ(told[i].kind, EventKind::kTokens);
    EXPECT_EQ(told[i].count, static_cast<std::int64_t>(i));
    EXPECT_EQ(told[i].ids.size(), 1U);
    EXPECT_TRUE(told[i].plain);
  }
  EXPECT_EQ(all_text(told), "Alejandro, a wise and just soul with a");
  EXPECT_EQ(all_ids(told), (Tokens{49, 290, 90, 41328, 28, 253, 9357, 284, 915, 8664, 351, 253}));
  EXPECT_EQ(told[12].finish, Finish::kLength);
  EXPECT_EQ(told[12].finish_text, "length");
  EXPECT_EQ(told[13].kind, EventKind::kUsage);
  EXPECT_TRUE(told[13].drop);
  EXPECT_EQ(told[13].count, 12);
  EXPECT_EQ(told[14].kind, EventKind::kDone);
}

TEST(StreamReaderVllm, CompletionsCarryPromptIdsInTheChoice) {
  const auto told = read_recording(vllm_options(Called::kTokens), "completions-stream-ids");
  EXPECT_EQ(told[0].prompt_ids, (Tokens{504, 3575, 282, 4649, 314}));
  EXPECT_EQ(told[0].text, " Paris");
  EXPECT_EQ(told[0].ids, Tokens{7042});
  EXPECT_EQ(all_ids(told).size(), 12U);
  EXPECT_EQ(told.back().kind, EventKind::kDone);
  EXPECT_EQ(told[told.size() - 2].prompt, 5);
}

TEST(StreamReaderVllm, IdsOfHalfCharactersComeWithoutText) {
  const auto told = read_recording(vllm_options(Called::kChat), "chat-emoji-ids");
  std::size_t silent = 0;
  for (const auto& event : told)
    silent += event.kind == EventKind::kTokens && event.text.empty() ? 1 : 0;
  EXPECT_EQ(silent, 16U);
  EXPECT_EQ(all_ids(told).size(), 24U);
  EXPECT_EQ(all_text(told).substr(0, 4), "🎉");
}

TEST(StreamReaderVllm, EosComesWithAnEmptyDeltaAndTheFinish) {
  const auto told = read_recording(vllm_options(Called::kChat), "chat-stop-string");
  const auto& last = told[told.size() - 2];
  EXPECT_EQ(last.ids, Tokens{2});
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.finish, Finish::kStop);
  EXPECT_EQ(last.stop_reason, "null");
  EXPECT_NE(last.edited.find("\"token_ids\":null}],\"system_fingerprint\""), std::string::npos);
}

TEST(StreamReaderVllm, IdsRunAheadOfHeldBackText) {
  for (const auto* name : {"chat-stop-held-back", "completions-stop-held-back"}) {
    const bool chat = std::string_view(name).starts_with("chat");
    const auto told =
        read_recording(vllm_options(chat ? Called::kChat : Called::kCompletions), name);
    const std::size_t first = chat ? 1 : 0;
    EXPECT_EQ(told[first].text, "");
    EXPECT_EQ(told[first].ids.size(), 1U);
    EXPECT_EQ(told[first].kind, EventKind::kTokens);
    const auto& last = told[told.size() - 2];
    EXPECT_GT(last.text.size(), 8U);
    EXPECT_EQ(last.finish, Finish::kLength);
  }
}

TEST(StreamReaderVllm, DiesWithAnErrorThenDoneThenACleanEnd) {
  for (const auto* name : {"die-enginecore-sigkill-chat", "die-sigterm-chat"}) {
    const auto told = read_recording(vllm_options(Called::kChat), name);
    const auto& error = told[told.size() - 2];
    EXPECT_EQ(error.kind, EventKind::kError);
    EXPECT_FALSE(error.client_error);
    EXPECT_NE(error.error.find("EngineCore encountered an issue"), std::string::npos);
    EXPECT_EQ(told.back().kind, EventKind::kDone);
    for (const auto& event : told) EXPECT_EQ(event.finish, Finish::kNone);
  }
}

TEST(StreamReaderVllm, ToolCallsEndInAFinishThatIsNone) {
  const auto told = read_recording(vllm_options(Called::kChat), "chat-tool-required");
  EXPECT_EQ(told[told.size() - 2].finish, Finish::kOther);
  EXPECT_EQ(told[told.size() - 2].finish_text, "tool_calls");
}

TEST(StreamReaderVllm, SeveralChoicesAreNotPlain) {
  const auto told = read_recording(vllm_options(Called::kChat, false), "chat-stream-logprobs-n2");
  EXPECT_FALSE(told[1].plain);
  EXPECT_FALSE(told[2].plain);
}

// llama.cpp.

TEST(StreamReaderLlama, ChatTellsIdsAndCountsThroughLogprobsAndTimings) {
  const auto told = read_recording(llama_options(Called::kChat), "chat-stream-logprobs-timings");
  EXPECT_EQ(told[0].kind, EventKind::kRole);
  EXPECT_EQ(told[1].ids, Tokens{49});
  EXPECT_EQ(told[1].count, 1);
  EXPECT_EQ(told[1].prompt, 36);
  EXPECT_TRUE(told[1].plain);
  EXPECT_EQ(all_ids(told).size(), 12U);
  EXPECT_EQ(told[told.size() - 2].finish, Finish::kLength);
  EXPECT_EQ(told[told.size() - 2].count, 12);
}

TEST(StreamReaderLlama, CountsJumpWhereIdsAreLostInsideCharacters) {
  const auto told = read_recording(llama_options(Called::kChat), "chat-emoji-logprobs-timings");
  EXPECT_EQ(told[0].kind, EventKind::kTokens);  // no role chunk at all
  EXPECT_EQ(told[0].text, "🎉");
  EXPECT_EQ(told[0].ids, Tokens{227});
  EXPECT_EQ(told[0].count, 3);
  EXPECT_EQ(told[0].prompt, 49);
  EXPECT_EQ(told[1].count, 6);
  EXPECT_LT(all_ids(told).size(), 24U);
  EXPECT_EQ(told[told.size() - 2].count, 24);
}

TEST(StreamReaderLlama, NativeCountsJumpToo) {
  const auto told = read_recording(llama_options(Called::kTokens), "completion-native-emoji");
  ASSERT_EQ(told.size(), 9U);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(told[i].ids.size(), 1U);
    EXPECT_EQ(told[i].count, static_cast<std::int64_t>(3 * (i + 1)));
    EXPECT_EQ(told[i].prompt, 27);
  }
  EXPECT_EQ(told[8].finish, Finish::kLength);
}

TEST(StreamReaderLlama, NativeEndsWithoutDone) {
  const auto told = read_recording(llama_options(Called::kTokens), "completion-native-stream");
  EXPECT_EQ(told.back().kind, EventKind::kTokens);
  EXPECT_EQ(told.back().finish, Finish::kLength);
  EXPECT_EQ(told.back().text, "");
  EXPECT_EQ(all_ids(told).size(), 12U);
  EXPECT_EQ(all_text(told), " Paris.\n\nThe United States has a population of approximately");
}

TEST(StreamReaderLlama, NativeStopCutsTheTextButCountsTheToken) {
  const auto told = read_recording(llama_options(Called::kTokens), "completion-native-stop");
  EXPECT_EQ(all_text(told), " Paris");
  EXPECT_EQ(all_ids(told), (Tokens{7042, 30}));
  EXPECT_EQ(told.back().finish, Finish::kStop);
  EXPECT_EQ(told.back().stop_reason, "\".\"");
  EXPECT_EQ(told.back().count, 2);
}

TEST(StreamReaderLlama, NativePromptsOfIdsReadTheSame) {
  const auto text = read_recording(llama_options(Called::kTokens), "completion-native-stream");
  const auto ids = read_recording(llama_options(Called::kTokens), "completion-native-token-prompt");
  EXPECT_EQ(all_ids(text), all_ids(ids));
}

TEST(StreamReaderLlama, AskedForNothingItWritesOneToken) {
  StreamReader reader(llama_options(Called::kTokens));
  const auto told = read_one(
      reader, "data: " + recorded_body(Kind::kLlamaCpp, "completion-native-zero") + "\n\n");
  EXPECT_EQ(told.count, 1);
  EXPECT_EQ(told.finish, Finish::kLength);
}

TEST(StreamReaderLlama, VerboseCompletionsCarryIds) {
  const auto told =
      read_recording(llama_options(Called::kCompletions), "completions-stream-verbose");
  EXPECT_EQ(all_ids(told).size(), 12U);
  EXPECT_EQ(told[0].ids, Tokens{7042});
  EXPECT_EQ(told[0].count, 1);
  EXPECT_EQ(told[0].prompt, 5);
  const auto& last = told[told.size() - 2];
  EXPECT_EQ(last.finish, Finish::kLength);
  EXPECT_EQ(last.count, 12);
}

TEST(StreamReaderLlama, EosIsCountedButHasNoId) {
  const auto told = read_recording(llama_options(Called::kChat), "chat-stop-held-back");
  const auto& last = told[told.size() - 2];
  EXPECT_EQ(last.finish, Finish::kStop);
  EXPECT_EQ(last.count, 17);
  EXPECT_EQ(all_ids(told).size(), 16U);
}

TEST(StreamReaderLlama, DiesInTheMiddleWithoutAWord) {
  const auto told = read_recording(llama_options(Called::kChat, false), "die-sigterm-chat");
  EXPECT_GT(told.size(), 10U);
  for (const auto& event : told) {
    EXPECT_EQ(event.finish, Finish::kNone);
    EXPECT_NE(event.kind, EventKind::kDone);
    EXPECT_NE(event.kind, EventKind::kError);
  }
}

TEST(StreamReaderLlama, TellsAnEndTokenFromAStopString) {
  StreamReader reader(llama_options(Called::kTokens));
  auto read = reader.read(R"({"content":"","tokens":[],"stop":true,"stop_type":"eos"})");
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->meaning.at_end_token);
  EXPECT_EQ(read->meaning.stop_string, "");
  read = reader.read(
      R"({"content":"","tokens":[],"stop":true,"stop_type":"word","stopping_word":"b c"})");
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->meaning.at_end_token);
  EXPECT_EQ(read->meaning.stop_string, "b c");
}

TEST(StreamReaderLlama, AnEndThatSaysNoReasonIsAnAbort) {
  StreamReader reader(llama_options(Called::kTokens));
  const auto read = reader.read(R"({"content":"","tokens":[],"stop":true,"stop_type":"none"})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->meaning.finish, Finish::kAbort);
}

// Any engine.

struct Plain {
  const char* delta;
  bool plain;
};

TEST(StreamReader, KnowsPlainDeltasFromOthers) {
  for (const auto& [delta, plain] :
       {Plain{R"({"content":"x"})", true},
        Plain{R"({"role":"assistant","content":"x","tool_calls":null})", true},
        Plain{R"({"content":"x","tool_calls":[],"refusal":null})", true},
        Plain{R"({"tool_calls":[{"index":0}]})", false},
        Plain{R"({"reasoning_content":"hm"})", false},
        Plain{R"({"reasoning":"hm","content":"x"})", false}, Plain{R"({"refusal":"no"})", false}}) {
    StreamReader reader({});
    reader = StreamReader({Kind::kOpenAi, Called::kChat, false, false, false, ""});
    const std::string data = R"({"choices":[{"index":0,"delta":)" + std::string(delta) + "}]}";
    const auto read = reader.read(data);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->meaning.plain, plain) << delta;
  }
}

struct Word {
  const char* word;
  Finish finish;
};

TEST(StreamReader, KnowsFinishReasons) {
  for (const auto& [word, finish] :
       {Word{"\"stop\"", Finish::kStop}, Word{"\"length\"", Finish::kLength},
        Word{"\"abort\"", Finish::kAbort}, Word{"\"error\"", Finish::kError},
        Word{"\"content_filter\"", Finish::kOther}, Word{"null", Finish::kNone},
        Word{"\"\"", Finish::kNone}, Word{"5", Finish::kNone}}) {
    StreamReader reader({Kind::kVllm, Called::kCompletions, true, false, false, ""});
    const std::string data =
        R"({"choices":[{"text":"","finish_reason":)" + std::string(word) + "}]}";
    EXPECT_EQ(reader.read(data)->meaning.finish, finish) << word;
  }
}

struct Fault {
  const char* data;
  bool clients;
};

TEST(StreamReader, KnowsWhoseErrorItIs) {
  for (const auto& [data, clients] :
       {Fault{R"({"error":{"message":"m","type":"BadRequestError","code":400}})", true},
        Fault{R"({"error":{"message":"m","code":"too_long","type":"invalid_request_error"}})",
              true},
        Fault{R"({"error":{"message":"m","code":500,"type":"BadRequestError"}})", false},
        Fault{R"({"error":{"message":"m","code":429}})", false},
        Fault{R"({"error":{"message":"m"}})", false},
        Fault{R"({"object":"error","message":"m","type":"x","code":404})", true},
        Fault{R"({"error":"m"})", false}}) {
    StreamReader reader({Kind::kVllm, Called::kChat, true, false, false, ""});
    const auto read = reader.read(data);
    ASSERT_TRUE(read) << data;
    EXPECT_EQ(read->meaning.kind, EventKind::kError) << data;
    EXPECT_EQ(read->meaning.error_message, "m") << data;
    EXPECT_EQ(read->meaning.client_error, clients) << data;
  }
}

TEST(StreamReader, BrokenJsonIsAProtocolErrorAndUnknownJsonIsNot) {
  StreamReader reader(vllm_options(Called::kChat));
  for (const auto* data :
       {"{", "{\"choices\":[{]}", "{}x", "[DONE", "nonsense", "{\"id\":\"\xFF\"}"}) {
    const auto read = reader.read(data);
    ASSERT_FALSE(read) << data;
    EXPECT_EQ(read.error().code, Code::kProtocol);
  }
  for (const auto* data :
       {"{}", "[]", "5", "{\"choices\":5}", "{\"choices\":[]}", "{\"usage\":{}}", ""}) {
    const auto read = reader.read(data);
    ASSERT_TRUE(read) << data;
    EXPECT_EQ(read->meaning.kind, EventKind::kOther) << data;
    EXPECT_FALSE(read->drop);
  }
}

TEST(StreamReader, HalfAListOfIdsIsNone) {
  StreamReader reader(vllm_options(Called::kChat));
  const auto read =
      reader.read(R"({"choices":[{"index":0,"delta":{"content":"x"},"token_ids":[1,"2"]}]})");
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->meaning.ids.empty());
  EXPECT_EQ(read->meaning.text, "x");
}

TEST(StreamReaderIdentity, ARestartTakesTheFirstAttemptsPlace) {
  const auto events = recorded_events(Kind::kVllm, "chat-stream-ids-continuous-usage");
  StreamReader first(vllm_options(Called::kChat));
  read_one(first, events[0]);
  EXPECT_EQ(first.captured().id, "\"chatcmpl-a07d092640d6ee0f\"");
  EXPECT_EQ(first.captured().created, "1795314794");
  EXPECT_EQ(first.captured().model, "\"smollm2\"");
  EXPECT_EQ(first.captured().system_fingerprint, "");

  StreamReader second(vllm_options(Called::kChat));
  second.set_identity({"\"chatcmpl-1\"", "17", "\"other\"", ""});
  const auto told = read_all(second, events);
  EXPECT_TRUE(told[0].drop);
  EXPECT_EQ(told[0].prompt_ids.size(), 36U);
  EXPECT_EQ(told[1].edited,
            "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":17,"
            "\"model\":\"other\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"A\"},"
            "\"logprobs\":null,"
            "\"finish_reason\":null,\"token_ids\":null}]}\n\n");
}

TEST(StreamReaderIdentity, ReplacesTheFingerprintWhereThereIsOne) {
  const auto events = recorded_events(Kind::kLlamaCpp, "chat-stream-logprobs-timings");
  StreamReader reader(llama_options(Called::kChat));
  reader.set_identity({"\"i\"", "1", "\"m\"", "\"f\""});
  const auto told = read_all(reader, events);
  EXPECT_TRUE(told[0].drop);
  EXPECT_EQ(
      told[1].edited,
      "data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\"A\"}}],"
      "\"created\":1,\"id\":\"i\",\"model\":\"m\",\"system_fingerprint\":\"f\","
      "\"object\":\"chat.completion.chunk\"}\n\n");
}

TEST(StreamReaderFraming, EditsAnEventOfSeveralDataLines) {
  const std::string data = "{\"choices\":[{\"text\":\"x\",\n\"token_ids\":[1]}]}";
  StreamReader reader(vllm_options(Called::kCompletions));
  const auto read = reader.read(data);
  ASSERT_TRUE(read);
  std::string out;
  append_edited(out, "data: {\"choices\":[{\"text\":\"x\",\ndata: \"token_ids\":[1]}]}\n\n", *read);
  EXPECT_EQ(out, "data: {\"choices\":[{\"text\":\"x\",\ndata: \"token_ids\":null}]}\n\n");
}

TEST(StreamReaderFraming, KeepsOtherFieldsOfTheEvent) {
  const std::string event =
      "id: 5\r\ndata:{\"choices\":[{\"text\":\"x\",\"token_ids\":[1]}]}\r\n\r\n";
  StreamReader reader(vllm_options(Called::kCompletions));
  const auto read = reader.read(std::string_view(event).substr(12, event.size() - 16));
  ASSERT_TRUE(read);
  std::string out;
  append_edited(out, event, *read);
  EXPECT_EQ(out, "id: 5\r\ndata:{\"choices\":[{\"text\":\"x\",\"token_ids\":null}]}\r\n\r\n");
}

/// Members in any order, any of them missing: what is left after the edits is valid JSON without
/// what we asked for.
TEST(StreamReaderProperty, EditsLeaveValidJsonInAnyOrder) {
  const std::vector<std::string> members = {
      R"("id":"a")",
      R"("created":5)",
      R"("usage":{"completion_tokens":1})",
      R"("timings":{"predicted_n":1})",
      R"("__verbose":{"tokens":[1]})",
      R"("prompt_token_ids":[1,2])",
      R"("object":"o")",
      std::string(R"("choices":[{"logprobs":{"content":[{"id":4}]},"index":0,"token_ids":[4],)") +
          R"("delta":{"content":"x"}}])"};
  Random random(7);
  for (int i = 0; i < 4000; ++i) {
    auto some = members;
    for (std::size_t j = some.size(); j > 1; --j) std::swap(some[j - 1], some[random.below(j)]);
    some.resize(1 + random.below(some.size()));
    std::string data = "{";
    for (const auto& member : some) data += (data.size() > 1 ? "," : "") + member;
    data += "}";
    const Kind kind = random.chance(0.5) ? Kind::kVllm : Kind::kLlamaCpp;
    StreamReader reader(
        {kind, Called::kChat, true, random.chance(0.3), random.chance(0.3), "\"f\""});
    if (random.chance(0.5)) reader.set_identity({"\"new\"", "9", "", ""});
    const auto read = reader.read(data);
    ASSERT_TRUE(read);
    std::string out;
    append_edited(out, "data: " + data + "\n\n", *read);
    ASSERT_TRUE(out.starts_with("data: ") && out.ends_with("\n\n"));
    boost::system::error_code error;
    boost::json::parse(out.substr(6, out.size() - 8), error);
    ASSERT_FALSE(error) << data << " -> " << out;
    ASSERT_EQ(out.find("__verbose"), std::string::npos);
    ASSERT_EQ(out.find("[4]"), std::string::npos) << out;
  }
}

}  // namespace
}  // namespace hf::engine
