// One setting: how it is called, written, read, shown, and where its value lives.
//
// A table of these is all that flags, environment, file, `config check`, reload and the document
// know of a setting; it is written once (keys.cpp).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/node.hpp"

namespace hf::config {

/// What is wrong with a configuration, all of it, in the order found.
class Problems {
 public:
  struct Problem {
    int line = 0;  // 0: not in the file
    std::string text;
    bool is_unknown_key = false;
  };

  void add(int line, std::string text) { list_.push_back({line, std::move(text), false}); }
  void add_unknown(int line, std::string text) { list_.push_back({line, std::move(text), true}); }
  const std::vector<Problem>& list() const { return list_; }
  bool empty() const { return list_.empty(); }

 private:
  std::vector<Problem> list_;
};

/// A setting of a `T`.
template <class T>
struct Field {
  std::string name;  // dotted: "admission.hold"
  std::string type;  // for people: "duration", "0…65535", "kill | stop | finish"
  std::string help;  // one line; says what it does and what its value means
  /// Reads the node into `target`; `place` is what a problem calls the setting.
  std::function<void(T& target, const Node& node, const std::string& place, Problems& problems)>
      set;
  std::function<std::string(const T&)> show;  // as it could be written
  std::function<void(T& to, const T& from)> copy;

  std::string flag;       // "--admission-hold"; empty: file only
  std::string variable;   // "HOLDFAST_ADMISSION_HOLD"
  std::string also;       // a second variable of the same meaning
  std::string also_name;  // a second name in the file
  bool is_switch = false;
  bool is_secret = false;  // never printed
  bool reloads = false;    // SIGHUP applies it; otherwise it needs a restart
  bool has_effect = true;  // false: read and shown, and nothing looks at it yet

  Field& on_reload() {
    reloads = true;
    return *this;
  }
  Field& no_effect_yet() {
    has_effect = false;
    return *this;
  }
  Field& secret() {
    is_secret = true;
    return *this;
  }
  Field& also_variable(std::string second) {
    also = std::move(second);
    return *this;
  }
};

/// Of which setting a node of the file is the value. `names` and `also_names` go in step; an empty
/// second name is none.
struct Names {
  std::vector<std::string> names;
  std::vector<std::string> also_names;
};
struct Match {
  std::size_t field;
  const Node* node;
};
/// Finds the settings in a map, nested (`admission: {hold: 5s}`) or dotted (`admission.hold: 5s`).
/// Unknown keys, keys given in both ways and maps that should be values go to `problems`, each
/// called `place` + its name.
std::vector<Match> match(const Node& map, const Names& names, const std::string& place,
                         Problems& problems);

/// The most similar candidate, empty if none is near.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

/// The words of a list: of a YAML list, or of "a, b" / "[a, b]" on one line. False: not a list.
bool read_words(const Node& node, std::vector<std::string>& words);
std::string show_words(const std::vector<std::string>& words);

template <class T>
Names names_of(const std::vector<Field<T>>& fields) {
  Names out;
  for (const auto& field : fields) {
    out.names.push_back(field.name);
    out.also_names.push_back(field.also_name);
  }
  return out;
}

/// Reads a map into `target`, whose settings are `fields`.
template <class T>
void set_members(T& target, const std::vector<Field<T>>& fields, const Node& map,
                 const std::string& place, Problems& problems) {
  for (const auto& [index, node] : match(map, names_of(fields), place + ".", problems))
    fields[index].set(target, *node, place + "." + fields[index].name, problems);
}

}  // namespace hf::config
