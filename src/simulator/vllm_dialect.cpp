// vLLM: heads, events, ends and whole answers.
#include "simulator/vllm_dialect.hpp"

#include <array>
#include <cstdio>

#include "simulator/http_text.hpp"
#include "simulator/json_text.hpp"

namespace hf::simulator {
namespace {

constexpr std::string_view kDone = "data: [DONE]\n\n";
constexpr std::string_view kDeathEvent =
    R"(data: {"error": {"message": "EngineCore encountered an issue. See stack trace (above) for )"
    R"(the root cause.", "type": "InternalServerError", "param": null, "code": 500}})"
    "\n\n";

bool is_chat(const ApiStream& stream) {
  return stream.call.kind == GenerateCall::Kind::kChat;
}

void append_usage(std::string& out, std::int64_t prompt, std::int64_t completion,
                  std::string_view tail) {
  out += R"({"prompt_tokens":)";
  append_int(out, prompt);
  out += R"(,"total_tokens":)";
  append_int(out, prompt + completion);
  out += R"(,"completion_tokens":)";
  append_int(out, completion);
  out += tail;
  out += '}';
}

void append_fingerprint(std::string& out) {
  out += R"(,"system_fingerprint":")";
  out += kVllmFingerprint;
  out += '"';
}

std::int64_t all_completion_tokens(const ApiStream& stream) {
  std::int64_t tokens = 0;
  for (const Choice& choice : stream.choices) tokens += choice.completion_tokens;
  return tokens;
}

void append_continuous_usage(std::string& out, const ApiStream& stream, const Choice& choice,
                             std::int64_t completion) {
  if (!stream.call.continuous_usage) return;
  out += R"(,"usage":)";
  append_usage(out, choice.view.prompt_tokens, completion,
               is_chat(stream) ? R"(,"completion_tokens_details":null)" : "");
}

// One entry of a chat's logprobs.content, its alternatives included.
void append_chat_logprob(std::string& out, const Vocabulary& vocabulary, TokenId id,
                         std::int32_t top) {
  const auto entry = [&](TokenId token) {
    const TokenId one[] = {token};
    out += R"({"token":)";
    append_json_string(out, vocabulary.detokenize(one, true));
    out += R"(,"logprob":)";
    append_double(out, pretended_logprob(token));
    out += R"(,"bytes":)";
    append_byte_list(out, vocabulary.bytes(token));
  };
  entry(id);
  out += R"(,"top_logprobs":[)";
  for (std::int32_t i = 0; i < top; ++i) {
    if (i != 0) out += ',';
    entry(i == 0 ? id : alternative_token(vocabulary, id, i));
    out += '}';
  }
  out += "]}";
}

void append_completion_logprobs(std::string& out, const Vocabulary& vocabulary,
                                std::span<const TokenId> ids, std::size_t offset,
                                std::int32_t top) {
  std::string offsets, values, tokens, tops;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const TokenId id = ids[i];
    const std::string text = vocabulary.detokenize({&id, 1}, true);
    const std::string_view comma = i == 0 ? "" : ",";
    (offsets += comma) += std::to_string(offset);
    offset += count_characters(text);
    values += comma;
    append_double(values, pretended_logprob(id));
    tokens += comma;
    append_json_string(tokens, text);
    (tops += comma) += '{';
    for (std::int32_t rank = 0; rank < top; ++rank) {
      const TokenId token = rank == 0 ? id : alternative_token(vocabulary, id, rank);
      if (rank != 0) tops += ',';
      append_json_string(tops, vocabulary.detokenize({&token, 1}, true));
      tops += ':';
      append_double(tops, pretended_logprob(token));
    }
    tops += '}';
  }
  out += R"({"text_offset":[)" + offsets + R"(],"token_logprobs":[)" + values + R"(],"tokens":[)" +
         tokens + R"(],"top_logprobs":[)" + tops + "]}";
}

void append_stop_reason(std::string& out, const Choice& choice, const SequenceParams& params) {
  if (choice.stop_kind == StopKind::kWord) {
    append_json_string(out, params.stop[static_cast<std::size_t>(choice.stop_index)]);
  } else if (choice.stop_kind == StopKind::kTokenId) {
    append_int(out, choice.stop_id);
  } else {
    out += "null";
  }
}

void append_finish(std::string& out, Finish finish, const GenerateCall& call) {
  if (finish == Finish::kNone) {
    out += "null";
    return;
  }
  out += '"';
  out += vllm_finish_name(finish, call);
  out += '"';
}

// The delta of one token of a forced tool call: nothing, the name, or a piece of the arguments.
void append_tool_delta(std::string& out, const ApiStream& stream, Choice& choice,
                       std::string_view piece) {
  const std::size_t begin = choice.forced_bytes;
  choice.forced_bytes += piece.size();
  const GenerateCall& call = stream.call;
  const std::size_t name_end = call.arguments_begin - std::string_view(", \"parameters\": ").size();
  if (begin < name_end && choice.forced_bytes >= name_end) {
    out += R"({"content":null,"tool_calls":[{"id":"chatcmpl-tool-)";
    out += std::string_view(stream.public_id).substr(stream.public_id.rfind('-') + 1);
    out += R"(","type":"function","index":0,"function":{"name":)";
    append_json_string(out, call.tool_name);
    out += "}}]}";
    return;
  }
  const std::size_t from = std::max(begin, call.arguments_begin);
  const std::size_t to = std::min(choice.forced_bytes, call.arguments_end);
  if (from >= to) {
    out += "{}";
    return;
  }
  out += R"({"content":null,"tool_calls":[{"index":0,"function":{"arguments":)";
  append_json_string(out, piece.substr(from - begin, to - from));
  out += "}}]}";
}

void append_role_event(ApiStream& stream, Choice& choice, std::string& out) {
  std::string event = stream.event_prefix;
  event += R"({"index":)";
  append_int(event, choice.index);
  event += R"(,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}])";
  append_continuous_usage(event, stream, choice, 0);
  event += R"(,"prompt_token_ids":)";
  const auto& params = stream.call.sequences[static_cast<std::size_t>(choice.index)];
  if (stream.call.return_token_ids) {
    append_ids(event, params.prompt);
  } else {
    event += "null";
  }
  event += ",\"prompt_text\":null}\n\n";
  append_chunk(out, event);
  choice.started = true;
}

void append_event_ids(std::string& out, const ApiStream& stream, const TokenEvent& token) {
  if (!stream.call.return_token_ids) {
    out += "null";
  } else if (token.id < 0 || stream.drop_ids) {
    out += "[]";
  } else {
    append_ids(out, {&token.id, 1});
  }
}

void append_chat_choice(std::string& event, ApiStream& stream, Choice& choice,
                        const TokenEvent& token, const Vocabulary& vocabulary) {
  event += R"({"index":)";
  append_int(event, choice.index);
  event += R"(,"delta":)";
  if (!stream.call.tool_name.empty()) {
    append_tool_delta(event, stream, choice, token.text);
  } else if (token.text.empty()) {
    event += "{}";
  } else {
    const bool is_reasoning = token.completion_tokens <= stream.call.reasoning;
    event += is_reasoning ? R"({"reasoning":)" : R"({"content":)";
    append_json_string(event, token.text);
    event += '}';
  }
  event += R"(,"logprobs":)";
  if (stream.call.logprobs >= 0 && token.id >= 0) {
    event += R"({"content":[)";
    append_chat_logprob(event, vocabulary, token.id, stream.call.logprobs);
    event += "]}";
  } else {
    event += "null";
  }
  event += R"(,"finish_reason":)";
  append_finish(event, token.finish, stream.call);
  if (token.finish != Finish::kNone) {
    event += R"(,"stop_reason":)";
    append_stop_reason(event, choice,
                       stream.call.sequences[static_cast<std::size_t>(choice.index)]);
  }
  event += R"(,"token_ids":)";
  append_event_ids(event, stream, token);
  event += "}]";
}

void append_text_choice(std::string& event, ApiStream& stream, Choice& choice,
                        const TokenEvent& token, const Vocabulary& vocabulary) {
  const auto& params = stream.call.sequences[static_cast<std::size_t>(choice.index)];
  event += R"({"index":)";
  append_int(event, choice.index);
  event += R"(,"text":)";
  append_json_string(event, token.text);
  event += R"(,"logprobs":)";
  if (stream.call.logprobs >= 0 && token.id >= 0) {
    append_completion_logprobs(event, vocabulary, {&token.id, 1}, choice.text_chars,
                               stream.call.logprobs);
    choice.text_chars += count_characters(vocabulary.detokenize({&token.id, 1}, true));
  } else {
    event += "null";
  }
  event += R"(,"finish_reason":)";
  append_finish(event, token.finish, stream.call);
  event += R"(,"stop_reason":)";
  append_stop_reason(event, choice, params);
  event += R"(,"prompt_token_ids":)";
  if (!choice.started && stream.call.return_token_ids) {
    append_ids(event, params.prompt);
  } else {
    event += "null";
  }
  choice.started = true;
  event += R"(,"token_ids":)";
  append_event_ids(event, stream, token);
  event += "}]";
}

void append_whole_choice(std::string& out, const ApiStream& stream, const Choice& choice,
                         const Vocabulary& vocabulary) {
  const GenerateCall& call = stream.call;
  const auto at = static_cast<std::size_t>(choice.index);
  out += R"({"index":)";
  append_int(out, choice.index);
  if (is_chat(stream)) {
    out += R"(,"message":{"role":"assistant","content":)";
    if (call.tool_name.empty() && (call.reasoning == 0 || !choice.text.empty())) {
      append_json_string(out, choice.text);
    } else {
      out += "null";
    }
    out += R"(,"refusal":null,"annotations":null,"audio":null,"function_call":null)";
    if (!call.tool_name.empty() && choice.text.size() >= call.arguments_end) {
      out += R"(,"tool_calls":[{"id":"chatcmpl-tool-0","type":"function","function":{"name":)";
      append_json_string(out, call.tool_name);
      out += R"(,"arguments":)";
      append_json_string(
          out, std::string_view(choice.text)
                   .substr(call.arguments_begin, call.arguments_end - call.arguments_begin));
      out += "}}]";
    }
    out += R"(,"reasoning":)";
    if (choice.reasoning.empty()) {
      out += "null";
    } else {
      append_json_string(out, choice.reasoning);
    }
    out += '}';
  } else {
    out += R"(,"text":)";
    append_json_string(out, call.echo ? call.prompt_texts[at] + choice.text : choice.text);
  }
  out += R"(,"logprobs":)";
  if (call.logprobs < 0) {
    out += "null";
  } else if (is_chat(stream)) {
    out += R"({"content":[)";
    for (std::size_t i = 0; i < choice.ids.size(); ++i) {
      if (i != 0) out += ',';
      append_chat_logprob(out, vocabulary, choice.ids[i], call.logprobs);
    }
    out += "]}";
  } else {
    append_completion_logprobs(out, vocabulary, choice.ids, 0, call.logprobs);
  }
  out += R"(,"finish_reason":)";
  append_finish(out, choice.finish, call);
  out += R"(,"stop_reason":)";
  append_stop_reason(out, choice, call.sequences[at]);
  out += R"(,"token_ids":)";
  if (call.return_token_ids) append_ids(out, choice.ids);
  if (!call.return_token_ids) out += "null";
  if (!is_chat(stream)) {
    out += R"(,"prompt_logprobs":null,"prompt_token_ids":)";
    if (call.return_token_ids) append_ids(out, call.sequences[at].prompt);
    if (!call.return_token_ids) out += "null";
  }
  out += R"(,"routed_experts":null})";
}

}  // namespace

std::string_view vllm_finish_name(Finish finish, const GenerateCall& call) {
  switch (finish) {
    case Finish::kLength: return "length";
    case Finish::kAbort: return "abort";
    default: return call.tool_name.empty() ? "stop" : "tool_calls";
  }
}

Page vllm_error(int status, std::string_view message, std::string_view type,
                std::string_view param) {
  Page page;
  page.status = status;
  page.body = R"({"error":{"message":)";
  append_json_string(page.body, message);
  page.body += R"(,"type":)";
  append_json_string(page.body, type);
  page.body += R"(,"param":)";
  if (param.empty()) {
    page.body += "null";
  } else {
    append_json_string(page.body, param);
  }
  page.body += R"(,"code":)";
  append_int(page.body, status);
  page.body += "}}";
  return page;
}

void VllmDialect::head(std::string& out, const Page& page, std::optional<std::size_t> length,
                       bool keep_alive, const DialectContext& context) const {
  out += "HTTP/1.1 ";
  append_int(out, page.status);
  out += ' ';
  out += reason_phrase(page.status);
  out += "\r\ndate: ";
  append_http_date(out, context.unix_s);
  out += "\r\nserver: uvicorn\r\n";
  if (page.retry_after_s >= 0) out += "retry-after: " + std::to_string(page.retry_after_s) + "\r\n";
  if (length) out += "content-length: " + std::to_string(*length) + "\r\n";
  if (!length) {
    out += "content-type: text/event-stream; charset=utf-8\r\n";
  } else if (*length != 0) {
    out += "content-type: ";
    out += page.content_type.empty() ? "application/json" : page.content_type;
    out += "\r\n";
  }
  out += "vary: Origin\r\n";
  if (!keep_alive) out += "connection: close\r\n";
  if (!length) out += "transfer-encoding: chunked\r\n";
  out += "\r\n";
}

void VllmDialect::open(ApiStream& stream, Random& random, const DialectContext&) const {
  std::array<char, 24> hex;
  std::snprintf(hex.data(), hex.size(), "%016llx", static_cast<unsigned long long>(random.next()));
  stream.public_id = (is_chat(stream) ? "chatcmpl-" : "cmpl-") + std::string(hex.data());
  std::string& prefix = stream.event_prefix;
  prefix = R"(data: {"id":")" + stream.public_id + R"(","object":")";
  prefix += is_chat(stream) ? "chat.completion.chunk" : "text_completion";
  prefix += R"(","created":)";
  append_int(prefix, stream.created);
  prefix += R"(,"model":)";
  append_json_string(prefix, stream.call.model);
  prefix += R"(,"choices":[)";
}

void VllmDialect::event(ApiStream& stream, Choice& choice, const TokenEvent& token,
                        std::string& out, const DialectContext& context) const {
  if (is_chat(stream)) {
    for (Choice& each : stream.choices) {
      if (!each.started) append_role_event(stream, each, out);
    }
  }
  std::string event;
  event.reserve(stream.event_prefix.size() + token.text.size() + 160);
  event += stream.event_prefix;
  const Vocabulary& vocabulary = context.model->vocabulary();
  if (is_chat(stream)) {
    append_chat_choice(event, stream, choice, token, vocabulary);
  } else {
    append_text_choice(event, stream, choice, token, vocabulary);
  }
  append_continuous_usage(event, stream, choice, token.completion_tokens);
  if (token.finish != Finish::kNone && !stream.call.include_usage) append_fingerprint(event);
  event += "}\n\n";
  append_chunk(out, event);
}

void VllmDialect::close(ApiStream& stream, std::string& out, const DialectContext&) const {
  if (stream.call.include_usage) {
    std::string event = stream.event_prefix;
    event += R"(],"usage":)";
    append_usage(event, stream.call.prompt_tokens, all_completion_tokens(stream), "");
    append_fingerprint(event);
    event += "}\n\n";
    append_chunk(out, event);
  }
  append_chunk(out, kDone);
  out += kLastChunk;
}

std::string VllmDialect::whole(const ApiStream& stream, const DialectContext& context) const {
  std::string body = R"({"id":")" + stream.public_id + R"(","object":")";
  body += is_chat(stream) ? "chat.completion" : "text_completion";
  body += R"(","created":)";
  append_int(body, stream.created);
  body += R"(,"model":)";
  append_json_string(body, stream.call.model);
  body += R"(,"choices":[)";
  for (const Choice& choice : stream.choices) {
    if (choice.index != 0) body += ',';
    append_whole_choice(body, stream, choice, context.model->vocabulary());
  }
  body += R"(],"service_tier":null)";
  append_fingerprint(body);
  body += R"(,"usage":)";
  append_usage(body, stream.call.prompt_tokens, all_completion_tokens(stream),
               R"(,"prompt_tokens_details":null,"completion_tokens_details":null)");
  if (is_chat(stream)) {
    body += R"(,"prompt_logprobs":null,"prompt_token_ids":)";
    if (stream.call.return_token_ids) append_ids(body, stream.call.sequences[0].prompt);
    if (!stream.call.return_token_ids) body += "null";
    body += R"(,"prompt_text":null)";
  }
  body += R"(,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null})";
  return body;
}

std::string VllmDialect::death_in_stream() const {
  std::string out;
  append_chunk(out, kDeathEvent);
  append_chunk(out, kDone);
  out += kLastChunk;
  return out;
}

Page VllmDialect::refusal(int status) const {
  if (status == 500) {
    return vllm_error(
        500, "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "InternalServerError");
  }
  return vllm_error(status, "The server is overloaded. Please try again later.",
                    status == 429 ? "TooManyRequestsError" : "ServiceUnavailableError");
}

std::unique_ptr<EngineDialect> make_vllm_dialect() {
  return std::make_unique<VllmDialect>();
}

}  // namespace hf::simulator
