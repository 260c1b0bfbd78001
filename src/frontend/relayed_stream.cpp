#include "frontend/relayed_stream.hpp"

#include <algorithm>

#include "frontend/error_response.hpp"
#include "wire/json.hpp"

namespace hf::frontend {
namespace {

bool is_last(StreamForm form, std::string_view name) {
  if (name == "error") return true;
  if (form == StreamForm::kMessages) return name == "message_stop";
  return name == "response.completed" || name == "response.incomplete" || name == "response.failed";
}

// The id in {"response":{"id":"resp_…"}}; plain characters only.
std::string response_id(std::string_view data) {
  static constexpr std::string_view kKey = "\"id\":\"resp";
  const auto found = data.find(kKey);
  if (found == data.npos) return {};
  const auto begin = found + kKey.size() - 4;
  const auto end = data.find('"', begin);
  if (end == data.npos || end - begin > 128) return {};
  const auto id = data.substr(begin, end - begin);
  return id.find('\\') == id.npos ? std::string(id) : std::string();
}

}  // namespace

void RelayedStream::saw(const wire::SseEvent& event) {
  if (!event.has_data) return;
  ++events_;
  if (form_ == StreamForm::kOpenAi) return;
  if (form_ == StreamForm::kResponses && events_ == 1) response_id_ = response_id(event.data);
  ended_ = ended_ || is_last(form_, event.event);
}

std::string RelayedStream::error_event(const core::ClientError& error) const {
  if (form_ == StreamForm::kOpenAi) return frontend::error_event(error);
  if (form_ == StreamForm::kMessages) {
    return "event: error\ndata: " + error_body(error, form_) + "\n\n";
  }
  std::string out =
      "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":";
  out += std::to_string(events_) + R"(,"response":{"id":)";
  wire::json_append_string(out, response_id_);
  out += R"(,"object":"response","created_at":0,"status":"failed","error":{"code":"server_error",)"
         R"("message":)";
  wire::json_append_string(out, error.message + " (" + error.code + ")");
  out += R"(},"incomplete_details":null,"instructions":null,"metadata":null,"model":)";
  wire::json_append_string(out, model_);
  out += R"(,"output":[],"parallel_tool_calls":true,"temperature":null,"tool_choice":"auto",)"
         R"("tools":[],"top_p":null,"usage":null}})";
  return out + "\n\n";
}

}  // namespace hf::frontend
