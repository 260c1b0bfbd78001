// llama.cpp: heads, events, ends and whole answers.
#include "simulator/llama_dialect.hpp"

#include <algorithm>

#include "simulator/http_text.hpp"
#include "simulator/json_text.hpp"

namespace hf::simulator {
namespace {

using Kind = GenerateCall::Kind;

constexpr std::string_view kDone = "data: [DONE]\n\n";

std::string_view finish_name(const Choice& choice, const GenerateCall& call) {
  if (choice.finish == Finish::kLength) return "length";
  return call.tool_name.empty() ? "stop" : "tool_calls";
}

std::string_view stop_type(const Choice& choice) {
  switch (choice.stop_kind) {
    case StopKind::kEos: return "eos";
    case StopKind::kWord: return "word";
    case StopKind::kLimit: return "limit";
    default: return "none";
  }
}

void append_native_partial(std::string& out, const Choice& choice, std::string_view text,
                           TokenId id, std::int32_t predicted) {
  out += R"({"index":)";
  append_int(out, choice.index);
  out += R"(,"content":)";
  append_json_string(out, text);
  out += R"(,"tokens":)";
  append_ids(out, {&id, id >= 0 ? std::size_t{1} : std::size_t{0}});
  out += R"(,"stop":false,"id_slot":-1,"tokens_predicted":)";
  append_int(out, predicted);
  out += R"(,"tokens_evaluated":)";
  append_int(out, choice.view.prompt_tokens);
}

// The object that ends a native answer, streamed or not.
void append_native_final(std::string& out, const ApiStream& stream, const Choice& choice,
                         const DialectContext& context) {
  const GenerateCall& call = stream.call;
  const auto& params = call.sequences[static_cast<std::size_t>(choice.index)];
  out += R"({"index":)";
  append_int(out, choice.index);
  out += R"(,"content":)";
  append_json_string(out, call.stream ? "" : choice.text);
  out += R"(,"tokens":)";
  append_ids(out, !call.stream && call.return_tokens ? std::span<const TokenId>(choice.ids)
                                                     : std::span<const TokenId>{});
  out += R"(,"id_slot":)";
  append_int(out, std::max(choice.view.slot, 0));
  out += R"(,"stop":true,"model":)";
  append_json_string(out, context.options->model);
  out += R"(,"tokens_predicted":)";
  append_int(out, choice.completion_tokens);
  out += R"(,"tokens_evaluated":)";
  append_int(out, choice.view.prompt_tokens);
  out += R"(,"generation_settings":)";
  LlamaSettings settings;
  settings.temperature = call.temperature;
  if (params.seed) settings.seed = static_cast<std::int64_t>(*params.seed);
  settings.n_predict = call.max_tokens;
  settings.ignore_eos = params.ignore_eos;
  settings.stream = call.stream;
  settings.chat = call.kind == Kind::kChat;
  settings.timings_per_token = call.timings_per_token;
  settings.n_probs = std::max(call.logprobs, 0);
  settings.stop = &params.stop;
  append_llama_settings(out, settings);
  out += R"(,"prompt":)";
  append_json_string(out, call.prompt_texts[static_cast<std::size_t>(choice.index)]);
  out += R"(,"has_new_line":)";
  out += choice.has_new_line ? "true" : "false";
  const bool truncated =
      choice.stop_kind == StopKind::kLimit &&
      choice.view.prompt_tokens + choice.completion_tokens >= context.options->engine.model_len;
  out += truncated ? R"(,"truncated":true,"stop_type":")" : R"(,"truncated":false,"stop_type":")";
  out += stop_type(choice);
  out += R"(","stopping_word":)";
  append_json_string(out, choice.stop_kind == StopKind::kWord
                              ? params.stop[static_cast<std::size_t>(choice.stop_index)]
                              : "");
  out += R"(,"tokens_cached":)";
  append_int(out, std::max(choice.view.prompt_tokens + choice.completion_tokens - 1, 0));
  out += R"(,"timings":)";
  append_llama_timings(out, choice.view, choice.completion_tokens);
  out += '}';
}

// One log-probability entry: around it what the event shows, inside what the token is by itself.
void append_logprob(std::string& out, const Vocabulary& vocabulary, TokenId id,
                    std::string_view shown, std::int32_t top) {
  const auto entry = [&](TokenId token, std::string_view text, std::string_view bytes) {
    out += R"({"id":)";
    append_int(out, token);
    out += R"(,"token":)";
    append_json_string(out, text);
    out += R"(,"bytes":)";
    append_byte_list(out, bytes);
    out += R"(,"logprob":)";
    append_double(out, pretended_logprob(token));
  };
  entry(id, shown, shown);
  out += R"(,"top_logprobs":[)";
  for (std::int32_t i = 0; i < top; ++i) {
    if (i != 0) out += ',';
    const TokenId token = i == 0 ? id : alternative_token(vocabulary, id, i);
    entry(token, vocabulary.detokenize({&token, 1}, true), vocabulary.bytes(token));
    out += '}';
  }
  out += "]}";
}

void append_logprobs(std::string& out, const ApiStream& stream, const TokenEvent& token,
                     const Vocabulary& vocabulary) {
  out += R"({"content":[)";
  append_logprob(out, vocabulary, token.id, token.text, stream.call.logprobs);
  out += "]}";
}

bool tells_logprobs(const ApiStream& stream, const TokenEvent& token) {
  return stream.call.logprobs > 0 && token.id >= 0 && !stream.drop_ids;
}

void append_usage(std::string& out, const ApiStream& stream) {
  std::int64_t completion = 0, cached = 0;
  for (const Choice& choice : stream.choices) {
    completion += choice.completion_tokens;
    cached += choice.view.cached_tokens;
  }
  out += R"({"completion_tokens":)";
  append_int(out, completion);
  out += R"(,"prompt_tokens":)";
  append_int(out, stream.call.prompt_tokens);
  out += R"(,"total_tokens":)";
  append_int(out, stream.call.prompt_tokens + completion);
  out += R"(,"prompt_tokens_details":{"cached_tokens":)";
  append_int(out, cached);
  out += "}}";
}

void append_timings_field(std::string& out, const Choice& choice, std::int32_t predicted) {
  out += R"(,"timings":)";
  append_llama_timings(out, choice.view, predicted);
}

void native_event(ApiStream& stream, Choice& choice, const TokenEvent& token, std::string& out,
                  const DialectContext& context) {
  if (token.id >= 0 && token.visible) {
    std::string event = "data: ";
    append_native_partial(event, choice, token.text, stream.drop_ids ? -1 : token.id,
                          token.completion_tokens);
    if (stream.call.timings_per_token || token.stop_kind == StopKind::kWord) {
      append_timings_field(event, choice, token.completion_tokens);
    }
    if (tells_logprobs(stream, token)) {
      event += R"(,"completion_probabilities":[)";
      append_logprob(event, context.model->vocabulary(), token.id, token.text,
                     stream.call.logprobs);
      event += ']';
    }
    event += "}\n\n";
    append_chunk(out, event);
  }
  if (token.finish == Finish::kNone) return;
  std::string event = "data: ";
  append_native_final(event, stream, choice, context);
  event += "\n\n";
  append_chunk(out, event);
}

void append_text_choice(std::string& event, const Choice& choice, std::string_view text) {
  event += R"({"text":)";
  append_json_string(event, text);
  event += R"(,"index":)";
  append_int(event, choice.index);
}

void completions_event(ApiStream& stream, Choice& choice, const TokenEvent& token, std::string& out,
                       const DialectContext& context) {
  if (token.id >= 0 && token.visible) {
    std::string event = stream.event_prefix;
    append_text_choice(event, choice, token.text);
    event += R"(,"logprobs":)";
    if (tells_logprobs(stream, token)) {
      append_logprobs(event, stream, token, context.model->vocabulary());
    } else {
      event += "null";
    }
    event += R"(,"finish_reason":null})";
    event += stream.event_suffix;
    event += R"(,"id":")" + stream.public_id + '"';
    if (stream.call.verbose) {
      event += R"(,"__verbose":)";
      append_native_partial(event, choice, token.text, stream.drop_ids ? -1 : token.id,
                            token.completion_tokens);
      event += '}';
    }
    if (stream.call.timings_per_token || token.stop_kind == StopKind::kWord) {
      append_timings_field(event, choice, token.completion_tokens);
    }
    event += "}\n\n";
    append_chunk(out, event);
  }
  if (token.finish == Finish::kNone) return;
  std::string event = stream.event_prefix;
  append_text_choice(event, choice, "");
  event += R"(,"logprobs":null,"finish_reason":")";
  event += finish_name(choice, stream.call);
  event += "\"}" + stream.event_suffix + R"(,"usage":)";
  append_usage(event, stream);
  event += R"(,"id":")" + stream.public_id + '"';
  if (stream.call.verbose) {
    event += R"(,"__verbose":)";
    append_native_final(event, stream, choice, context);
  }
  append_timings_field(event, choice, choice.completion_tokens);
  event += "}\n\n";
  append_chunk(out, event);
}

std::string chat_event_start(const ApiStream& stream, const Choice& choice,
                             std::string_view finish) {
  std::string event = stream.event_prefix;
  event += R"({"finish_reason":)";
  if (finish.empty()) {
    event += "null";
  } else {
    ((event += '"') += finish) += '"';
  }
  event += R"(,"index":)";
  append_int(event, choice.index);
  event += R"(,"delta":)";
  return event;
}

std::string tool_delta(const ApiStream& stream, Choice& choice, std::string_view piece) {
  const GenerateCall& call = stream.call;
  const std::size_t begin = choice.forced_bytes;
  choice.forced_bytes += piece.size();
  std::string delta;
  if (begin < call.arguments_begin && choice.forced_bytes >= call.arguments_begin) {
    delta = R"({"tool_calls":[{"index":0,"id":")" + stream.public_id.substr(9) +
            R"(","type":"function","function":{"name":)";
    append_json_string(delta, call.tool_name);
    delta += R"(,"arguments":)";
    const std::size_t to = std::min(choice.forced_bytes, call.arguments_end);
    append_json_string(delta,
                       piece.substr(call.arguments_begin - begin, to - call.arguments_begin));
    delta += "}}]}";
    return delta;
  }
  const std::size_t from = std::max(begin, call.arguments_begin);
  const std::size_t to = std::min(choice.forced_bytes, call.arguments_end);
  if (from >= to) return delta;
  delta = R"({"tool_calls":[{"index":0,"function":{"arguments":)";
  append_json_string(delta, piece.substr(from - begin, to - from));
  delta += "}}]}";
  return delta;
}

// What one partial result writes: the role with the first of them, a delta if it has text.
void chat_partial(ApiStream& stream, Choice& choice, const TokenEvent& token, std::string& out,
                  const DialectContext& context) {
  std::string events;
  // The role is told by the first result. If that ended in half a character, there was none, and
  // the role is never told.
  if (token.first) {
    events = chat_event_start(stream, choice, {});
    events += R"({"role":"assistant","content":null}})";
    events += stream.event_suffix + "}\n\n";
    if (stream.call.structured) {
      append_chunk(out, events);
      events.clear();
    }
  }
  std::string delta;
  if (!stream.call.tool_name.empty()) {
    delta = tool_delta(stream, choice, token.text);
  } else if (!token.text.empty()) {
    const bool is_reasoning = token.completion_tokens <= stream.call.reasoning;
    delta = is_reasoning ? R"({"reasoning_content":)" : R"({"content":)";
    append_json_string(delta, token.text);
    delta += '}';
  }
  if (!delta.empty()) {
    events += chat_event_start(stream, choice, {});
    events += delta;
    if (tells_logprobs(stream, token)) {
      events += R"(,"logprobs":)";
      append_logprobs(events, stream, token, context.model->vocabulary());
    }
    events += '}';
    events += stream.event_suffix;
    if (stream.call.timings_per_token) {
      append_timings_field(events, choice, token.completion_tokens);
    }
    events += "}\n\n";
  }
  if (!events.empty()) append_chunk(out, events);
}

void chat_final(ApiStream& stream, Choice& choice, std::string& out,
                const DialectContext& context) {
  std::string event = chat_event_start(stream, choice, finish_name(choice, stream.call));
  event += "{}}" + stream.event_suffix;
  if (!stream.call.include_usage) {
    append_timings_field(event, choice, choice.completion_tokens);
    if (stream.call.verbose) {
      event += R"(,"__verbose":)";
      append_native_final(event, stream, choice, context);
    }
  }
  event += "}\n\n";
  // Recorded: usage is an event of its own, in the same chunk.
  if (stream.call.include_usage && stream.choices_open == 0) {
    event += stream.event_prefix + stream.event_suffix + R"(,"usage":)";
    append_usage(event, stream);
    append_timings_field(event, choice, choice.completion_tokens);
    event += "}\n\n";
  }
  append_chunk(out, event);
}

void append_whole_choice(std::string& out, const ApiStream& stream, const Choice& choice,
                         const Vocabulary& vocabulary) {
  const GenerateCall& call = stream.call;
  const bool chat = call.kind == Kind::kChat;
  std::string logprobs = "null";
  if (call.logprobs > 0) {
    logprobs = R"({"content":[)";
    for (std::size_t i = 0; i < choice.log_ids.size(); ++i) {
      if (i != 0) logprobs += ',';
      append_logprob(logprobs, vocabulary, choice.log_ids[i], choice.log_texts[i], call.logprobs);
    }
    logprobs += "]}";
  }
  if (!chat) {
    append_text_choice(out, choice, choice.text);
    out += R"(,"logprobs":)" + logprobs + R"(,"finish_reason":")";
    out += finish_name(choice, call);
    out += "\"}";
    return;
  }
  out += R"({"finish_reason":")";
  out += finish_name(choice, call);
  out += R"(","index":)";
  append_int(out, choice.index);
  out += R"(,"message":{"role":"assistant","content":)";
  if (call.tool_name.empty()) {
    append_json_string(out, choice.text);
  } else {
    out += R"(null,"tool_calls":[{"type":"function","function":{"name":)";
    append_json_string(out, call.tool_name);
    out += R"(,"arguments":)";
    const std::size_t end = std::min(call.arguments_end, choice.text.size());
    const std::size_t begin = std::min(call.arguments_begin, end);
    append_json_string(out, std::string_view(choice.text).substr(begin, end - begin));
    out += R"(},"id":")" + stream.public_id.substr(9) + "\"}]";
  }
  if (!choice.reasoning.empty()) {
    out += R"(,"reasoning_content":)";
    append_json_string(out, choice.reasoning);
  }
  out += '}';
  if (call.logprobs > 0) out += R"(,"logprobs":)" + logprobs;
  out += '}';
}

}  // namespace

Page llama_error(int status, std::string_view message, std::string_view type,
                 std::string_view extra) {
  Page page;
  page.status = status;
  page.body = R"({"error":{"code":)";
  append_int(page.body, status);
  page.body += R"(,"message":)";
  append_json_string(page.body, message);
  page.body += R"(,"type":)";
  append_json_string(page.body, type);
  page.body += extra;
  page.body += "}}";
  return page;
}

void LlamaDialect::head(std::string& out, const Page& page, std::optional<std::size_t> length,
                        bool keep_alive, const DialectContext&) const {
  out += "HTTP/1.1 ";
  append_int(out, page.status);
  ((out += ' ') += reason_phrase(page.status)) += "\r\nServer: llama.cpp\r\n";
  out += "Access-Control-Allow-Origin: \r\n";
  if (page.retry_after_s >= 0) out += "Retry-After: " + std::to_string(page.retry_after_s) + "\r\n";
  if (length) {
    out += "Content-Type: ";
    out += page.content_type.empty() ? "application/json; charset=utf-8" : page.content_type;
    out += "\r\nContent-Length: " + std::to_string(*length) + "\r\n";
  } else {
    out +=
        "X-Accel-Buffering: no\r\nContent-Type: text/event-stream\r\n"
        "Transfer-Encoding: chunked\r\n";
  }
  out += keep_alive ? "Keep-Alive: timeout=5, max=100\r\n\r\n" : "Connection: close\r\n\r\n";
}

void LlamaDialect::open(ApiStream& stream, Random& random, const DialectContext& context) const {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  stream.public_id = "chatcmpl-";
  for (int i = 0; i < 32; ++i) stream.public_id += kLetters[random.below(kLetters.size())];
  stream.event_prefix = R"(data: {"choices":[)";
  std::string& suffix = stream.event_suffix;
  suffix = R"(],"created":)";
  append_int(suffix, stream.created);
  const bool chat = stream.call.kind == Kind::kChat;
  if (chat) suffix += R"(,"id":")" + stream.public_id + '"';
  suffix += R"(,"model":)";
  append_json_string(suffix, context.options->model);
  suffix += R"(,"system_fingerprint":"b0-unknown","object":")";
  suffix += chat ? "chat.completion.chunk\"" : "text_completion\"";
}

void LlamaDialect::event(ApiStream& stream, Choice& choice, const TokenEvent& token,
                         std::string& out, const DialectContext& context) const {
  if (stream.call.kind == Kind::kNative) return native_event(stream, choice, token, out, context);
  if (stream.call.kind == Kind::kCompletions) {
    return completions_event(stream, choice, token, out, context);
  }
  if (token.visible) chat_partial(stream, choice, token, out, context);
  if (token.finish != Finish::kNone) chat_final(stream, choice, out, context);
}

void LlamaDialect::close(ApiStream& stream, std::string& out, const DialectContext&) const {
  if (stream.call.kind != Kind::kNative) append_chunk(out, kDone);
  out += kLastChunk;
}

std::string LlamaDialect::whole(const ApiStream& stream, const DialectContext& context) const {
  std::string body;
  if (stream.call.kind == Kind::kNative) {
    const bool many = stream.choices.size() > 1;
    if (many) body += '[';
    for (const Choice& choice : stream.choices) {
      if (choice.index != 0) body += ',';
      append_native_final(body, stream, choice, context);
    }
    if (many) body += ']';
    return body;
  }
  body = R"({"choices":[)";
  for (const Choice& choice : stream.choices) {
    if (choice.index != 0) body += ',';
    append_whole_choice(body, stream, choice, context.model->vocabulary());
  }
  body += R"(],"created":)";
  append_int(body, stream.created);
  body += R"(,"model":)";
  append_json_string(body, context.options->model);
  body += R"(,"system_fingerprint":"b0-unknown","object":")";
  body += stream.call.kind == Kind::kChat ? "chat.completion" : "text_completion";
  body += R"(","usage":)";
  append_usage(body, stream);
  body += R"(,"id":")" + stream.public_id + '"';
  append_timings_field(body, stream.choices.front(), stream.choices.front().completion_tokens);
  body += '}';
  return body;
}

Page LlamaDialect::refusal(int status) const {
  return llama_error(status, status == 503 ? "Loading model" : "The server cannot answer now",
                     status == 503 ? "unavailable_error" : "server_error");
}

std::unique_ptr<EngineDialect> make_llama_dialect() {
  return std::make_unique<LlamaDialect>();
}

}  // namespace hf::simulator
