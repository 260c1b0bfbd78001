#include "engine/questions.hpp"

#include <utility>

#include "engine/answers.hpp"
#include "wire/json.hpp"

namespace hf::engine {
namespace {

Error unsupported(std::string detail) {
  return {Code::kUnsupported, Retry::kNever, std::move(detail)};
}

/// `"name":value` of the client's body, preceded by a comma, when it is there.
void copy_member(std::string& out, const ClientRequest& request, std::string_view name) {
  if (const Field* field = request.find(name)) {
    out.append(",\"").append(name).append("\":").append(request.value_of(*field));
  }
}

/// Opens an object with the model, or with nothing: `{"model":"m"` or `{"model":null`.
std::string open_with_model(std::string_view model) {
  std::string out = "{\"model\":";
  if (model.empty()) return out.append("null");
  wire::json_append_string(out, model);
  return out;
}

WireRequest post(std::string_view path, std::string body) {
  WireRequest call;
  call.path = path;
  call.body = std::move(body);
  return call;
}

WireRequest vllm_tokenize(const ClientRequest& request) {
  std::string body = open_with_model(request.model);
  if (request.endpoint == core::Endpoint::kCompletions) {
    copy_member(body, request, "prompt");
  } else {
    copy_member(body, request, "messages");
    if (request.find("add_generation_prompt") == nullptr) {
      body.append(",\"add_generation_prompt\":true");
    }
    copy_member(body, request, "add_generation_prompt");
    copy_member(body, request, "continue_final_message");
    copy_member(body, request, "chat_template");
    copy_member(body, request, "chat_template_kwargs");
  }
  copy_member(body, request, "add_special_tokens");
  return post("/tokenize", body + "}");
}

/// `text_json` is a JSON string, quotes included.
WireRequest llama_tokenize(std::string_view text_json) {
  std::string body = "{\"content\":";
  body.append(text_json).append(",\"add_special\":true,\"parse_special\":true}");
  return post("/tokenize", std::move(body));
}

}  // namespace

AskPromptIds::AskPromptIds(Kind kind, const ClientRequest& request)
    : kind_(kind), known_(request.has_prompt_ids), ids_(request.prompt_ids) {
  if (known_ || kind == Kind::kOpenAi) return;
  if (kind == Kind::kVllm) {
    call_ = vllm_tokenize(request);
    return;
  }
  if (request.endpoint == core::Endpoint::kCompletions) {
    const Field* prompt = request.find("prompt");
    call_ = llama_tokenize(prompt == nullptr ? "\"\"" : request.value_of(*prompt));
    return;
  }
  std::string body = "{\"messages\":";
  const Field* messages = request.find("messages");
  body.append(messages == nullptr ? "[]" : request.value_of(*messages));
  copy_member(body, request, "add_generation_prompt");
  copy_member(body, request, "chat_template_kwargs");
  call_ = post("/apply-template", body + "}");
  templating_ = true;
}

Step<Ids> AskPromptIds::start() {
  if (known_) return ids_;
  if (kind_ == Kind::kOpenAi) return unsupported("this engine has no tokenizer endpoint");
  return call_;
}

Step<Ids> AskPromptIds::next(int status, std::string_view body) {
  if (auto error = status_error(call_.path, status)) return *error;
  if (templating_) {
    const auto text = find_json(body, {"prompt"});
    if (!text || text->empty() || text->front() != '"') return nonsense(call_.path);
    templating_ = false;
    call_ = llama_tokenize(*text);
    return call_;
  }
  auto ids = find_ids(body, {"tokens"});
  if (!ids) return nonsense(call_.path);
  return std::move(*ids);
}

AskText::AskText(Kind kind, std::string_view model, const Ids& ids)
    : kind_(kind), empty_(ids.empty()) {
  std::string body = "{";
  if (kind == Kind::kVllm) body = open_with_model(model) + ",";
  body.append("\"tokens\":");
  wire::json_append_ints(body, ids.data(), ids.size());
  call_ = post("/detokenize", body + "}");
}

Step<std::string> AskText::start() {
  if (empty_) return std::string();
  if (kind_ == Kind::kOpenAi) return unsupported("this engine has no detokenizer endpoint");
  return call_;
}

Step<std::string> AskText::next(int status, std::string_view body) {
  if (auto error = status_error(call_.path, status)) return *error;
  auto text = find_string(body, {kind_ == Kind::kVllm ? "prompt" : "content"});
  if (!text) return nonsense(call_.path);
  return std::move(*text);
}

AskFill::AskFill(Kind kind, const Ids& ledger, const std::vector<core::LedgerGap>& gaps)
    : kind_(kind), ledger_(ledger), gaps_(gaps) {}

bool AskFill::fits() const {
  std::size_t at = 0;
  const auto known_until = [&](std::size_t end) {
    for (; at < end; ++at) {
      if (ledger_[at] < 0) return false;
    }
    return true;
  };
  for (const core::LedgerGap& gap : gaps_) {
    if (gap.count == 0 || gap.first > ledger_.size() || gap.count > ledger_.size() - gap.first ||
        gap.first < at || !known_until(gap.first)) {
      return false;
    }
    at = gap.first + gap.count;
    if (ledger_[at - 1] < 0) return false;
  }
  return known_until(ledger_.size());
}

Step<Ids> AskFill::start() {
  if (!fits()) return unsupported("a place of the ledger has neither an id nor a text");
  if (gaps_.empty()) return ledger_;
  if (kind_ != Kind::kLlamaCpp) return unsupported("this engine cannot fill missing ids");
  // Each string of the list is tokenised on its own, ids pass: one call for all gaps. Only what
  // lies between the first gap and the last is sent.
  std::string body = "{\"content\":[";
  const std::size_t begin = gaps_.front().first;
  std::size_t at = begin;
  const auto comma = [&] {
    if (body.back() != '[') body.push_back(',');
  };
  for (const core::LedgerGap& gap : gaps_) {
    for (; at < gap.first; ++at) {
      comma();
      wire::json_append_int(body, ledger_[at]);
    }
    comma();
    wire::json_append_string(body, gap.text);
    at += gap.count;
  }
  body.append("],\"add_special\":false,\"parse_special\":false}");
  return post("/tokenize", std::move(body));
}

Step<Ids> AskFill::next(int status, std::string_view body) {
  if (auto error = status_error("/tokenize", status)) return *error;
  const auto ids = find_ids(body, {"tokens"});
  if (!ids) return nonsense("/tokenize");
  const std::size_t begin = gaps_.front().first;
  const std::size_t end = gaps_.back().first + gaps_.back().count;
  bool agrees = ids->size() == end - begin;
  for (std::size_t i = begin; agrees && i < end; ++i) {
    const core::TokenId id = (*ids)[i - begin];
    agrees = id >= 0 && (ledger_[i] < 0 || ledger_[i] == id);
  }
  if (!agrees) return unsupported("the tokenizer's ids do not agree with those that are known");
  Ids filled = ledger_;
  std::copy(ids->begin(), ids->end(), filled.begin() + static_cast<std::ptrdiff_t>(begin));
  return filled;
}

}  // namespace hf::engine
