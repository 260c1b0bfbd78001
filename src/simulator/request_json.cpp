#include "simulator/request_json.hpp"

#include <limits>

#include "base/hash.hpp"

namespace hf::simulator {
namespace json = boost::json;
namespace {

constexpr std::string_view kSystemMessage =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
    "Face<|im_end|>\n";

const json::value* field(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::int64_t clamp_to_int(double number) {
  constexpr double kMax = 9e18;
  if (!(number > -kMax)) return std::numeric_limits<std::int64_t>::min();
  if (number > kMax) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(number);
}

// What the model sees of an image: the same for the same bytes.
std::optional<std::string> image_text(const json::object& part) {
  const json::object* image = json_object(part, "image_url");
  if (image == nullptr) return std::nullopt;
  return "<image " + std::to_string(hash_bytes(json_text(*image, "url", ""))) + ">";
}

}  // namespace

std::optional<json::object> parse_object(std::string_view body) {
  boost::system::error_code error;
  json::value value = json::parse(body, error);
  if (error || !value.is_object()) return std::nullopt;
  return std::move(value.as_object());
}

bool json_bool(const json::object& object, std::string_view key, bool otherwise) {
  const json::value* value = field(object, key);
  return value != nullptr && value->is_bool() ? value->as_bool() : otherwise;
}

std::int64_t json_int(const json::object& object, std::string_view key, std::int64_t otherwise) {
  const json::value* value = field(object, key);
  if (value == nullptr) return otherwise;
  if (value->is_int64()) return value->as_int64();
  if (value->is_uint64()) return std::numeric_limits<std::int64_t>::max();
  if (value->is_double()) return clamp_to_int(value->as_double());
  return otherwise;
}

double json_number(const json::object& object, std::string_view key, double otherwise) {
  const json::value* value = field(object, key);
  if (value == nullptr) return otherwise;
  if (value->is_double()) return value->as_double();
  if (value->is_int64()) return static_cast<double>(value->as_int64());
  if (value->is_uint64()) return static_cast<double>(value->as_uint64());
  return otherwise;
}

std::string json_text(const json::object& object, std::string_view key,
                      std::string_view otherwise) {
  const json::value* value = field(object, key);
  if (value == nullptr || !value->is_string()) return std::string(otherwise);
  return std::string(std::string_view(value->as_string()));
}

const json::object* json_object(const json::object& object, std::string_view key) {
  const json::value* value = field(object, key);
  return value == nullptr ? nullptr : value->if_object();
}

const char* not_a_number(const json::object& object, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const json::value* value = field(object, key);
    if (value != nullptr && !value->is_number()) return key;
  }
  return nullptr;
}

std::vector<std::string> read_stop(const json::object& object) {
  std::vector<std::string> stops;
  const json::value* value = field(object, "stop");
  if (value == nullptr) return stops;
  const auto take = [&](const json::value& item) {
    if (item.is_string() && !item.as_string().empty()) {
      stops.emplace_back(std::string_view(item.as_string()));
    }
  };
  if (value->is_array()) {
    for (const json::value& item : value->as_array()) take(item);
  } else {
    take(*value);
  }
  return stops;
}

bool read_ids(const json::value& value, std::vector<TokenId>& ids) {
  if (!value.is_array()) return false;
  for (const json::value& item : value.as_array()) {
    if (!item.is_int64()) return false;
    constexpr std::int64_t kMax = std::numeric_limits<TokenId>::max();
    const std::int64_t id = item.as_int64();
    ids.push_back(id < 0 || id > kMax ? static_cast<TokenId>(kMax) : static_cast<TokenId>(id));
  }
  return true;
}

std::optional<std::string> message_text(const json::value& content, bool images) {
  if (content.is_null()) return "";
  if (content.is_string()) return std::string(std::string_view(content.as_string()));
  if (!content.is_array()) return std::nullopt;
  std::string text;
  for (const json::value& part : content.as_array()) {
    const json::object* object = part.if_object();
    if (object == nullptr) return std::nullopt;
    const std::string type = json_text(*object, "type", "");
    std::optional<std::string> words;
    if (type == "text") words = json_text(*object, "text", "");
    if (type == "image_url" && images) words = image_text(*object);
    if (!words) return std::nullopt;
    if (!text.empty()) text += '\n';
    text += *words;
  }
  return text;
}

std::optional<std::string> render_chat(const json::array& messages, bool generation_prompt,
                                       bool continue_last, bool images) {
  std::string text;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const json::object* message = messages[i].if_object();
    if (message == nullptr) return std::nullopt;
    const std::string role = json_text(*message, "role", "user");
    if (i == 0 && role != "system") text += kSystemMessage;
    const json::value* content = message->if_contains("content");
    const auto words =
        content == nullptr ? std::optional<std::string>("") : message_text(*content, images);
    if (!words) return std::nullopt;
    text += "<|im_start|>" + role + "\n" + *words;
    if (continue_last && i + 1 == messages.size()) return text;
    text += "<|im_end|>\n";
  }
  if (generation_prompt) text += "<|im_start|>assistant\n";
  return text;
}

std::optional<ForcedText> forced_text(const json::object& request) {
  const json::value* tools = request.if_contains("tools");
  const json::value* choice = request.if_contains("tool_choice");
  const bool wanted =
      choice != nullptr &&
      (choice->is_object() || (choice->is_string() && choice->as_string() == "required"));
  if (wanted && tools != nullptr && tools->is_array() && !tools->as_array().empty()) {
    const json::object* tool = tools->as_array()[0].if_object();
    const json::object* function = tool == nullptr ? nullptr : json_object(*tool, "function");
    ForcedText forced;
    forced.tool_name = function == nullptr ? "tool" : json_text(*function, "name", "tool");
    forced.text = R"([{"name": ")" + forced.tool_name + R"(", "parameters": )";
    forced.arguments_begin = forced.text.size();
    forced.text += R"({"city": "the town on the island"})";
    forced.arguments_end = forced.text.size();
    forced.text += "}]";
    return forced;
  }
  const json::object* format = json_object(request, "response_format");
  if (format != nullptr) {
    const std::string type = json_text(*format, "type", "text");
    if (type == "json_schema" || type == "json_object") {
      ForcedText forced;
      forced.text = "{\n  \"name\": \"the quick fox\"\n}";
      return forced;
    }
  }
  return std::nullopt;
}

}  // namespace hf::simulator
