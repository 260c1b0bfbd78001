// Bodies that are relayed, any bytes: the model that is read is the one that a JSON parser reads.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/relayed_request.hpp"

namespace {

using namespace hf::engine;

void check_json(std::string_view body) {
  const auto read = scan_relayed(BodyForm::kJson, "application/json", body);
  if (!read) return;
  boost::system::error_code error;
  const auto value = boost::json::parse({body.data(), body.size()}, error);
  if (error || !value.is_object()) return;  // stricter than we are (numbers, depth)
  const auto* model = value.as_object().if_contains("model");
  if (model == nullptr) {
    if (!read->model.empty()) std::abort();
  } else if (model->is_string()) {
    if (std::string_view(model->as_string()) != read->model) std::abort();
  }
}

}  // namespace

/// A first line is the content type of a form.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  check_json(text);
  const auto line = text.find('\n');
  if (line == text.npos) return 0;
  const auto body = text.substr(line + 1);
  const auto form = scan_relayed(BodyForm::kMultipart, text.substr(0, line), body);
  // A name that is read was written there.
  if (form && body.find(form->model) == body.npos) std::abort();
  return 0;
}
