// docs/configuration.md's table, from the table of keys.
#include "config/keys.hpp"

namespace hf::config {
namespace {

std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

template <class T>
std::string common_cells(const Field<T>& field, const std::string& default_value) {
  std::string help = field.help;
  if (!field.has_effect) help += " (no effect yet)";
  return cell(field.type) + " | " + (default_value.empty() ? "none" : "`" + default_value + "`") +
         " | " + (field.reloads ? "yes" : "") + " | " + cell(help) + " |\n";
}

template <class T>
void append_nested(std::string& out, const std::string& place, std::vector<Field<T>> fields,
                   bool reloads) {
  for (auto& field : fields) {
    field.reloads = reloads;
    const auto value = field.show(T());
    const bool is_unset = value == "none" || value == "[]" || field.name == "url";
    out += "| | `" + place + field.name + "` | | " +
           common_cells(field, is_unset ? std::string() : value);
  }
}

}  // namespace

std::string document() {
  std::string out =
      "| flag | key in the file | variable | value | default | reload | what |\n"
      "| --- | --- | --- | --- | --- | --- | --- |\n"
      "| `--config` | | `HOLDFAST_CONFIG` | path | none | | the file |\n";
  const frontend::ServeOptions defaults;
  for (const auto& key : serve_keys()) {
    auto variables = key.variable.empty() ? std::string() : "`" + key.variable + "`";
    if (!key.also.empty()) variables += ", `" + key.also + "`";
    const auto value = key.show(defaults);
    const bool is_unset = value == "none" || (value == "[]" && key.name == "engines");
    out += "| " + (key.flag.empty() ? std::string() : "`" + key.flag + "`") + " | `" + key.name +
           "` | " + variables + " | " + common_cells(key, is_unset ? std::string() : value);
    if (key.name == "engines") append_nested(out, "engines[].", engine_keys(), true);
    if (key.name == "models") append_nested(out, "models.NAME.", model_keys(), true);
  }
  return out;
}

}  // namespace hf::config
