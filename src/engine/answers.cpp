#include "engine/answers.hpp"

namespace hf::engine {
namespace {

/// One step down: the member `name` of an object, or the element of that index.
std::optional<std::string_view> step(std::string_view document, std::string_view name) {
  wire::JsonReader json(document);
  const wire::JsonKind kind = json.peek();
  if (kind == wire::JsonKind::kObject) {
    wire::JsonKey key;
    json.enter_object();
    while (json.next_key(key)) {
      const wire::JsonSpan value = json.skip();
      if (!json.failed() && key.raw == name) return value.of(document);
    }
    return std::nullopt;
  }
  std::int64_t index = 0;
  if (kind != wire::JsonKind::kArray || !wire::json_int(name, index)) return std::nullopt;
  json.enter_array();
  while (json.next_element()) {
    const wire::JsonSpan value = json.skip();
    if (!json.failed() && index-- == 0) return value.of(document);
  }
  return std::nullopt;
}

}  // namespace

std::optional<Error> status_error(std::string_view what, int status) {
  if (status == 200) return std::nullopt;
  Error error;
  error.detail = std::string(what) + " answered with status " + std::to_string(status);
  error.code = status == 503 || status == 429 ? Code::kUnavailable : Code::kHttpStatus;
  error.retry = status == 503 || status == 429 ? Retry::kAfterDelay : Retry::kOtherWorker;
  return error;
}

Error nonsense(std::string_view what) {
  return {Code::kProtocol, Retry::kOtherWorker, std::string(what) + " answered what we can't read"};
}

std::optional<std::string_view> find_json(std::string_view document,
                                          std::initializer_list<std::string_view> path) {
  std::optional<std::string_view> at = document;
  for (const std::string_view name : path) {
    at = step(*at, name);
    if (!at) return std::nullopt;
  }
  return at;
}

std::optional<std::string> find_string(std::string_view document,
                                       std::initializer_list<std::string_view> path) {
  const auto value = find_json(document, path);
  if (!value) return std::nullopt;
  wire::JsonReader json(*value);
  std::string text;
  if (!json.read_string(text)) return std::nullopt;
  return text;
}

std::optional<std::int64_t> find_int(std::string_view document,
                                     std::initializer_list<std::string_view> path) {
  const auto value = find_json(document, path);
  std::int64_t number = 0;
  if (!value || !wire::json_int(*value, number)) return std::nullopt;
  return number;
}

std::optional<std::vector<core::TokenId>> find_ids(std::string_view document,
                                                   std::initializer_list<std::string_view> path) {
  const auto value = find_json(document, path);
  if (!value) return std::nullopt;
  wire::JsonReader json(*value);
  std::vector<core::TokenId> ids;
  if (!wire::json_read_ints(json, ids)) return std::nullopt;
  return ids;
}

}  // namespace hf::engine
