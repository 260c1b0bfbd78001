#include "engine/relayed_request.hpp"

#include <utility>

#include "wire/json.hpp"
#include "wire/multipart.hpp"

namespace hf::engine {
namespace {

constexpr std::size_t kModelBytesMax = 1024;
constexpr std::string_view kNotJson = "the body is not a JSON object";

Result<RelayedRequest> scan_json(std::string_view body) {
  RelayedRequest request;
  wire::JsonReader reader(body);
  wire::JsonKey key;
  if (!reader.enter_object()) return fail(Code::kBadInput, std::string(kNotJson));
  while (reader.next_key(key)) {
    std::string name;
    if (!wire::json_unescape(key.raw, name)) break;
    if (name == "model" && reader.peek() == wire::JsonKind::kString) {
      request.model.clear();
      reader.read_string(request.model);
    } else if (name == "model" && reader.peek() != wire::JsonKind::kNull) {
      return fail(Code::kBadInput, "`model` must be a string");
    } else {
      const auto kind = reader.peek();
      if (name == "background") request.background = kind == wire::JsonKind::kTrue;
      reader.skip();
    }
  }
  if (!reader.at_end()) return fail(Code::kBadInput, std::string(kNotJson));
  return request;
}

Result<RelayedRequest> scan_form(std::string_view content_type, std::string_view body) {
  const auto boundary = wire::multipart_boundary(content_type);
  if (!boundary) return std::unexpected(boundary.error());
  const auto parts = wire::multipart_parts(body, *boundary);
  if (!parts) return std::unexpected(parts.error());
  RelayedRequest request;
  bool has_model = false;
  for (const auto& part : *parts) {
    if (part.name != "model") continue;
    if (std::exchange(has_model, true)) return fail(Code::kBadInput, "the form has two `model`s");
    request.model = std::string(part.content.substr(0, kModelBytesMax + 1));
  }
  return request;
}

}  // namespace

Result<RelayedRequest> scan_relayed(BodyForm form, std::string_view content_type,
                                    std::string_view body) {
  auto request = form == BodyForm::kJson ? scan_json(body) : scan_form(content_type, body);
  if (request && request->model.size() > kModelBytesMax) {
    return fail(Code::kBadInput, "`model` is too long");
  }
  return request;
}

}  // namespace hf::engine
