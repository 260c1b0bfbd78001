#include "simulator/other_answer.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <span>

#include "base/random.hpp"
#include "simulator/json_text.hpp"
#include "simulator/request_json.hpp"
#include "wire/multipart.hpp"

namespace hf::simulator {
namespace json = boost::json;
namespace {

constexpr std::size_t kDimensions = 64;
constexpr std::int64_t kWordsDefault = 40;
constexpr std::size_t kSoundPieceBytes = 2048;
constexpr std::string_view kWords[] = {"sea", "ship", "storm", "日本", "привет", "star", "salt"};

std::uint64_t hash_of(std::string_view text, const EngineApiOptions& options) {
  std::uint64_t hash = 1469598103934665603ULL ^ options.engine.variant;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return mix64(hash);
}

// A list of texts (or of anything), or one.
std::vector<std::string> texts_of(const json::object& body, std::string_view key) {
  const auto* value = body.if_contains(key);
  if (value == nullptr) return {};
  if (value->is_string()) return {std::string(value->as_string())};
  if (!value->is_array()) return {json::serialize(*value)};
  std::vector<std::string> texts;
  for (const auto& each : value->as_array()) {
    texts.push_back(each.is_string() ? std::string(each.as_string()) : json::serialize(each));
  }
  return texts;
}

void append_share(std::string& out, std::uint64_t hash) {
  append_double(out, static_cast<double>(hash % 1'000'003) / 1'000'003.0);
}

std::string embeddings(const json::object& body, const EngineApiOptions& options) {
  std::string out = R"({"object":"list","data":[)";
  std::size_t index = 0;
  for (const auto& text : texts_of(body, "input")) {
    if (index > 0) out += ',';
    out += R"({"object":"embedding","index":)" + std::to_string(index++) + R"(,"embedding":[)";
    auto hash = hash_of(text, options);
    for (std::size_t i = 0; i < kDimensions; ++i, hash = mix64(hash)) {
      if (i > 0) out += ',';
      append_share(out, hash);
    }
    out += "]}";
  }
  out += R"(],"model":)";
  append_json_string(out, options.model);
  return out + R"(,"usage":{"prompt_tokens":7,"total_tokens":7}})";
}

// One number for each document beside the query; what the endpoints call them differs.
std::string scores(const json::object& body, std::string_view documents, std::string_view list,
                   std::string_view name, const EngineApiOptions& options) {
  const auto query = json_text(body, "query", json_text(body, "text_1", ""));
  std::string out = "{\"" + std::string(list) + "\":[";
  std::size_t index = 0;
  for (const auto& text : texts_of(body, documents)) {
    if (index > 0) out += ',';
    out += R"({"index":)" + std::to_string(index++) + ",\"" + std::string(name) + "\":";
    std::string both = query;
    append_share(out, hash_of(both.append(1, '\n').append(text), options));
    out += '}';
  }
  return out + "]}";
}

std::vector<std::string> words_of(const json::object& body, std::string_view limit,
                                  const EngineApiOptions& options) {
  auto count = json_int(body, limit, kWordsDefault);
  count = std::clamp<std::int64_t>(count, 1, 10'000);
  auto hash = hash_of(json::serialize(body), options);
  std::vector<std::string> words;
  for (std::int64_t i = 0; i < count; ++i, hash = mix64(hash)) {
    words.push_back(" " + std::string(kWords[hash % std::size(kWords)]));
  }
  return words;
}

std::string event(std::string_view name, const std::string& rest) {
  return "event: " + std::string(name) + "\ndata: {\"type\":\"" + std::string(name) + "\"" + rest +
         "}\n\n";
}

OtherAnswer messages(const json::object& body, const EngineApiOptions& options) {
  const auto words = words_of(body, "max_tokens", options);
  OtherAnswer answer;
  std::string text;
  for (const auto& word : words) text += word;
  const auto usage =
      R"("usage":{"input_tokens":9,"output_tokens":)" + std::to_string(words.size()) + "}";
  if (!json_bool(body, "stream", false)) {
    answer.page.body =
        R"({"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":)";
    append_json_string(answer.page.body, text);
    answer.page.body += R"(}],"stop_reason":"end_turn",)" + usage + "}";
    return answer;
  }
  answer.pieces.push_back(
      event("message_start", R"(,"message":{"id":"msg_1","type":"message","role":"assistant"})") +
      event("content_block_start", R"(,"index":0,"content_block":{"type":"text","text":""})"));
  for (const auto& word : words) {
    std::string rest = R"(,"index":0,"delta":{"type":"text_delta","text":)";
    append_json_string(rest, word);
    answer.pieces.push_back(event("content_block_delta", rest + "}"));
  }
  answer.pieces.push_back(
      event("content_block_stop", R"(,"index":0)") +
      event("message_delta", R"(,"delta":{"stop_reason":"end_turn"},)" + usage) +
      event("message_stop", ""));
  return answer;
}

OtherAnswer responses(const json::object& body, const EngineApiOptions& options) {
  const auto words = words_of(body, "max_output_tokens", options);
  std::string text;
  for (const auto& word : words) text += word;
  std::string whole =
      R"({"id":"resp_1","object":"response","status":"completed","output":[{"type":)"
      R"("message","content":[{"type":"output_text","text":)";
  append_json_string(whole, text);
  whole += "}]}]}";
  OtherAnswer answer;
  if (!json_bool(body, "stream", false)) {
    answer.page.body = whole;
    return answer;
  }
  int number = 0;
  const auto numbered = [&](std::string_view name, const std::string& rest) {
    return event(name, ",\"sequence_number\":" + std::to_string(number++) + rest);
  };
  answer.pieces.push_back(
      numbered("response.created", R"(,"response":{"id":"resp_1","status":"in_progress"})"));
  for (const auto& word : words) {
    std::string rest = R"(,"item_id":"msg_1","delta":)";
    append_json_string(rest, word);
    answer.pieces.push_back(numbered("response.output_text.delta", rest));
  }
  answer.pieces.push_back(numbered("response.completed", ",\"response\":" + whole));
  return answer;
}

OtherAnswer speech(const json::object& body, const EngineApiOptions& options) {
  OtherAnswer answer;
  answer.page.content_type = "audio/wav";
  const auto words = words_of(body, "max_tokens", options);
  for (const auto& word : words) {
    auto hash = hash_of(json_text(body, "input", "") + word + std::to_string(answer.pieces.size()),
                        options);
    std::string piece;
    for (; piece.size() < kSoundPieceBytes; hash = mix64(hash)) {
      for (int i = 0; i < 8; ++i) piece += static_cast<char>(hash >> (8 * i));
    }
    answer.pieces.push_back(std::move(piece));
  }
  return answer;
}

OtherAnswer transcription(const EngineCall& call, const EngineApiOptions& options) {
  OtherAnswer answer;
  const auto boundary = wire::multipart_boundary(call.content_type);
  const auto parts = boundary
                         ? wire::multipart_parts(call.body, *boundary)
                         : Result<std::vector<wire::FormPart>>(std::unexpected(boundary.error()));
  const auto* file = parts ? &*std::ranges::find(*parts, true, &wire::FormPart::is_file) : nullptr;
  if (!parts || file == &*parts->end()) {
    answer.page.status = 400;
    answer.page.body = R"({"error":{"message":"no file","type":"BadRequestError","code":400}})";
    return answer;
  }
  answer.page.body = R"({"text":"heard )" + std::to_string(file->content.size()) + " bytes, " +
                     std::to_string(hash_of(file->content, options)) + "\"}";
  return answer;
}

bool is_one_of(std::string_view path, std::initializer_list<std::string_view> paths) {
  return std::ranges::find(paths, path) != paths.end();
}

}  // namespace

std::optional<OtherAnswer> other_answer(const EngineCall& call, std::string_view path,
                                        const EngineApiOptions& options) {
  if (call.method != "POST") return std::nullopt;
  if (is_one_of(path, {"/v1/audio/transcriptions", "/v1/audio/translations"})) {
    return transcription(call, options);
  }
  const auto body = parse_object(call.body).value_or(json::object());
  OtherAnswer answer;
  if (is_one_of(path, {"/v1/embeddings", "/pooling"})) {
    answer.page.body = embeddings(body, options);
  } else if (is_one_of(path, {"/v1/rerank", "/v2/rerank", "/rerank"})) {
    answer.page.body = scores(body, "documents", "results", "relevance_score", options);
  } else if (is_one_of(path, {"/v1/score", "/score"})) {
    answer.page.body = scores(body, "text_2", "data", "score", options);
  } else if (path == "/classify") {
    answer.page.body = scores(body, "input", "data", "probs", options);
  } else if (path == "/v1/audio/speech") {
    return speech(body, options);
  } else if (path == "/v1/messages") {
    return messages(body, options);
  } else if (path == "/v1/responses") {
    return responses(body, options);
  } else {
    return std::nullopt;
  }
  return answer;
}

std::string chunked_head(std::string_view content_type, bool keep_alive) {
  std::string head = "HTTP/1.1 200 OK\r\ncontent-type: ";
  head += content_type.empty() ? "text/event-stream; charset=utf-8" : content_type;
  head += "\r\ntransfer-encoding: chunked\r\n";
  if (!keep_alive) head += "connection: close\r\n";
  return head + "\r\n";
}

}  // namespace hf::simulator
