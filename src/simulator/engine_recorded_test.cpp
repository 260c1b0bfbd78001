// The simulated engines against recorded answers of the real ones: same heads, same framing, same
// keys in the same order, same types. Texts, ids and numbers differ.
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

#include "simulator/engine_test_client.hpp"

namespace hf::simulator {
namespace {

namespace json = boost::json;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Values that are part of a protocol, and so are compared, not only their type.
bool is_fixed(std::string_view key) {
  return key == "object" || key == "role" || key == "stop_type" || key == "type" || key == "code" ||
         key == "param" || key == "system_fingerprint" || key == "status" || key == "stop";
}

std::string shape(const json::value& value, std::string_view key = {}) {
  if (value.is_string() && is_fixed(key)) return json::serialize(value);
  switch (value.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return is_fixed(key) ? json::serialize(value) : "bool";
    case json::kind::int64:
    case json::kind::uint64: return "int";
    case json::kind::double_: return "float";
    case json::kind::string: return "text";
    case json::kind::array: {
      std::set<std::string> items;
      for (const json::value& item : value.as_array()) items.insert(shape(item));
      std::string out = "[";
      for (const std::string& item : items) out += item + " ";
      return out + "]";
    }
    case json::kind::object: break;
  }
  std::string out = "{";
  for (const auto& [name, field] : value.as_object()) {
    // Tokens are the keys of completions' top_logprobs.
    const bool token_map = key.empty() && field.is_double() && name != "logprob";
    out += (token_map ? std::string("*") : std::string(name)) + ":" + shape(field, name) + " ";
  }
  return out + "}";
}

std::vector<std::string> chunk_shapes(const TestAnswer& answer) {
  std::vector<std::string> shapes;
  for (const std::string& chunk : answer.chunks) {
    TestAnswer one;
    one.body = chunk;
    std::string text;
    for (const std::string& event : one.events()) {
      boost::system::error_code error;
      const json::value value = json::parse(event, error);
      text += (error ? event : shape(value)) + "|";
    }
    if (!chunk.ends_with("\n\n")) text += "unfinished";
    // Whether a token shows text depends on the words, and theirs are not ours.
    constexpr std::string_view kWithText = "delta:{content:text }";
    const std::size_t delta = text.find(kWithText);
    if (delta != std::string::npos) text.replace(delta, kWithText.size(), "delta:{}");
    shapes.push_back(text);
  }
  return shapes;
}

std::vector<std::string> head_shape(const TestAnswer& answer) {
  std::vector<std::string> lines;
  for (const std::string& line : answer.header_lines) {
    const std::string name = line.substr(0, line.find(':'));
    const bool varies = name == "date" || name == "content-length" || name == "Content-Length" ||
                        name == "Process-Start-Time-Unix";
    lines.push_back(varies ? name : line);
  }
  return lines;
}

struct Recorded {
  std::string method, path, body;
  TestAnswer answer;
};

Recorded recorded(const std::string& engine, const std::string& name) {
  const std::string base = HF_SOURCE_DIR "/tests/recorded/" + engine + "/" + name;
  const std::string request = read_file(base + ".request");
  Recorded result;
  std::istringstream lines(request);
  std::string line;
  lines >> result.method >> result.path;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    if (!line.empty()) result.body += line;
  }
  result.answer = read_answer(read_file(base + ".response"), StreamEnd::kDone);
  return result;
}

struct Ask {
  Dialect dialect;
  const char* name;
  const char* also = nullptr;  // another recording whose chunks may occur here too
};

std::string folder(Dialect dialect) {
  return dialect == Dialect::kVllm ? "vllm-0.32" : "llama.cpp-b11549";
}

EngineApiOptions like_recorded(Dialect dialect) {
  EngineApiOptions options = test_options(dialect);
  options.engine.eos_every = 0;
  options.engine.slots = dialect == Dialect::kVllm ? 0 : 2;
  options.unix_at_zero_s = 1'795'314'820;
  return options;
}

class RecordedStreams : public testing::TestWithParam<Ask> {};

TEST_P(RecordedStreams, AreImitatedInFraming) {
  const Recorded real = recorded(folder(GetParam().dialect), GetParam().name);
  TestClient client(like_recorded(GetParam().dialect));
  const TestAnswer ours = client.ask(real.method, real.path, real.body);
  EXPECT_EQ(ours.status, real.answer.status);
  EXPECT_EQ(head_shape(ours), head_shape(real.answer));
  EXPECT_TRUE(ours.last_chunk);
  const auto real_chunks = chunk_shapes(real.answer), our_chunks = chunk_shapes(ours);
  ASSERT_FALSE(our_chunks.empty());
  std::set<std::string> known(real_chunks.begin(), real_chunks.end());
  if (GetParam().also != nullptr) {
    const auto more = chunk_shapes(recorded(folder(GetParam().dialect), GetParam().also).answer);
    known.insert(more.begin(), more.end());
  }
  for (std::size_t i = 0; i < our_chunks.size(); ++i) {
    EXPECT_TRUE(known.contains(our_chunks[i])) << i << ": " << our_chunks[i] << "\n"
                                               << ours.chunks[i];
  }
  EXPECT_EQ(our_chunks.front(), real_chunks.front());
  EXPECT_EQ(our_chunks.back(), real_chunks.back());
}

constexpr Dialect kVllm = Dialect::kVllm;
constexpr Dialect kLlama = Dialect::kLlama;

INSTANTIATE_TEST_SUITE_P(
    Vllm, RecordedStreams,
    testing::Values(Ask{kVllm, "completions-stream-ids"}, Ask{kVllm, "completions-no-limit-sent"},
                    Ask{kVllm, "completions-echo"}, Ask{kVllm, "completions-n2"},
                    Ask{kVllm, "completions-two-prompts"}, Ask{kVllm, "completions-stop-held-back"},
                    Ask{kVllm, "chat-stream-ids-usage", "chat-emoji-ids"},
                    Ask{kVllm, "chat-stream-ids-continuous-usage"}, Ask{kVllm, "chat-stream"},
                    Ask{kVllm, "chat-emoji-ids"}, Ask{kVllm, "chat-stop-held-back"},
                    Ask{kVllm, "chat-stream-logprobs-n2"}, Ask{kVllm, "chat-tool-required"}),
    [](const auto& param) {
      std::string name = param.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });
INSTANTIATE_TEST_SUITE_P(
    Llama, RecordedStreams,
    testing::Values(Ask{kLlama, "completion-native-stream"}, Ask{kLlama, "completion-native-emoji"},
                    Ask{kLlama, "completions-stream"}, Ask{kLlama, "completions-stream-verbose"},
                    Ask{kLlama, "chat-stream"}, Ask{kLlama, "chat-stream-usage"},
                    Ask{kLlama, "chat-stream-logprobs-timings"},
                    Ask{kLlama, "chat-stream-logprobs0-timings"},
                    Ask{kLlama, "chat-stream-verbose"}, Ask{kLlama, "chat-return-tokens"},
                    Ask{kLlama, "chat-n-probs"}),
    [](const auto& param) {
      std::string name = param.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

class RecordedWholes : public testing::TestWithParam<Ask> {};

TEST_P(RecordedWholes, AreImitatedInKeysAndTypes) {
  const Recorded real = recorded(folder(GetParam().dialect), GetParam().name);
  TestClient client(like_recorded(GetParam().dialect));
  const TestAnswer ours = client.ask(real.method, real.path, real.body);
  EXPECT_EQ(ours.status, real.answer.status) << ours.body;
  EXPECT_EQ(head_shape(ours), head_shape(real.answer));
  EXPECT_EQ(ours.body.empty(), real.answer.body.empty());
  if (ours.body.empty()) return;
  EXPECT_EQ(shape(json::parse(ours.body)), shape(json::parse(real.answer.body)));
  if (real.answer.status != 200) EXPECT_EQ(ours.body, real.answer.body);
}

INSTANTIATE_TEST_SUITE_P(
    Vllm, RecordedWholes,
    testing::Values(Ask{kVllm, "completions-whole-logprobs"}, Ask{kVllm, "chat-whole-ids"},
                    Ask{kVllm, "error-bad-json-type"}, Ask{kVllm, "error-max-tokens-too-big"},
                    Ask{kVllm, "error-model"}, Ask{kVllm, "error-negative"},
                    Ask{kVllm, "completions-bad-token-id"}, Ask{kVllm, "chat-empty-messages"},
                    Ask{kVllm, "chat-image"}, Ask{kVllm, "tokenize-text"},
                    Ask{kVllm, "tokenize-chat"}, Ask{kVllm, "models"}, Ask{kVllm, "version"},
                    Ask{kVllm, "health"}, Ask{kVllm, "load"}, Ask{kVllm, "embeddings-unsupported"}),
    [](const auto& param) {
      std::string name = param.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });
INSTANTIATE_TEST_SUITE_P(Llama, RecordedWholes,
                         testing::Values(Ask{kLlama, "completion-native-whole"},
                                         Ask{kLlama, "completion-native-zero"},
                                         Ask{kLlama, "chat-whole"}, Ask{kLlama, "error-bad-type"},
                                         Ask{kLlama, "tokenize"}, Ask{kLlama, "apply-template"},
                                         Ask{kLlama, "health"}, Ask{kLlama, "models"},
                                         Ask{kLlama, "props"}, Ask{kLlama, "slots"}),
                         [](const auto& param) {
                           std::string name = param.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Recorded, ADyingVllmEndsItsStreamsInTheRecordedBytes) {
  const std::string real =
      read_file(HF_SOURCE_DIR "/tests/recorded/vllm-0.32/die-enginecore-sigkill-chat.response");
  const std::string tail = real.substr(real.find("a9\r\ndata: {\"error\""));
  TestClient client(like_recorded(kVllm));
  const auto id = client.send("POST", "/v1/chat/completions",
                              R"({"messages":[{"role":"user","content":"sea"}],"stream":true})");
  client.run_until_events(id, 6);
  client.fault(R"({"kind":"die","how":"vllm"})");
  client.poll();
  EXPECT_EQ(client.ends[id], StreamEnd::kDone);
  EXPECT_TRUE(client.bytes[id].ends_with("\r\n" + tail)) << client.bytes[id];
}

}  // namespace
}  // namespace hf::simulator
