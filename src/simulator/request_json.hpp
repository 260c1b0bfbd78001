// Reading the JSON bodies that clients send to a simulated engine. Internal to the simulator.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simulator/sequence.hpp"
#include "simulator/vocabulary.hpp"

namespace hf::simulator {

/// The object that `body` is; nullopt if it is none.
std::optional<boost::json::object> parse_object(std::string_view body);

/// Absent, null or of another type: the default.
bool json_bool(const boost::json::object& object, std::string_view key, bool otherwise);
std::int64_t json_int(const boost::json::object& object, std::string_view key,
                      std::int64_t otherwise);
double json_number(const boost::json::object& object, std::string_view key, double otherwise);
std::string json_text(const boost::json::object& object, std::string_view key,
                      std::string_view otherwise);
const boost::json::object* json_object(const boost::json::object& object, std::string_view key);
/// The first of these fields that is there and neither null nor a number; nullptr if all are fine.
const char* not_a_number(const boost::json::object& object,
                         std::initializer_list<const char*> keys);

/// `stop`: a string or a list of them; empty ones are left out.
std::vector<std::string> read_stop(const boost::json::object& object);
/// A list of integers; false if it is anything else.
bool read_ids(const boost::json::value& value, std::vector<TokenId>& ids);

/// The text of a message's `content`: a string or text parts, with `images` also image_url parts.
/// nullopt: it has other parts.
std::optional<std::string> message_text(const boost::json::value& content, bool images);

/// A simple chat template with the default system message of the recorded model.
/// `generation_prompt`: ends where the assistant speaks; `continue_last`: the last message stays
/// open. nullopt: something in it is not text.
std::optional<std::string> render_chat(const boost::json::array& messages, bool generation_prompt,
                                       bool continue_last, bool images);

/// A call of `tool` (and where its arguments are), or some JSON, that an answer is forced to be.
struct ForcedText {
  std::string text;
  std::string tool_name;
  std::size_t arguments_begin = 0, arguments_end = 0;
};
std::optional<ForcedText> forced_text(const boost::json::object& request);

}  // namespace hf::simulator
