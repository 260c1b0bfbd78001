// Reads the keys of one map of a scenario; what nobody asked for is an unknown key.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "config/field.hpp"
#include "config/node.hpp"
#include "config/value.hpp"

namespace hf::chaos {

/// Usage: take what is known, then finish(). `place` is what problems call the map: "load.main".
class MapReader {
 public:
  MapReader(const config::Node& map, std::string place, config::Problems& problems)
      : map_(map), place_(std::move(place)), problems_(problems) {
    if (map.kind != config::Node::Kind::kMap) problem(map, "must be a map, as `key: value`");
  }

  /// nullptr: not there.
  const config::Node* find(const std::string& key) {
    known_.push_back(key);
    const auto it = std::ranges::find(map_.members, key, &config::Member::key);
    return it == map_.members.end() ? nullptr : &it->node;
  }

  void text(const std::string& key, std::string& into) {
    const auto* node = find(key);
    if (node == nullptr) return;
    if (node->kind != config::Node::Kind::kScalar) return bad(*node, key, "must be a text");
    into = node->text;
  }
  void one_of(const std::string& key, std::string& into, const std::vector<std::string>& words) {
    const auto* node = find(key);
    if (node == nullptr) return;
    if (node->kind != config::Node::Kind::kScalar || std::ranges::count(words, node->text) == 0)
      return bad(*node, key, "must be one of " + config::show_words(words));
    into = node->text;
  }
  template <class Number>
  void count(const std::string& key, Number& into, std::int64_t min, std::int64_t max) {
    read(key, config::parse_count, [&](std::int64_t value) {
      into = static_cast<Number>(std::clamp(value, min, max));
      return value >= min && value <= max;
    });
  }
  void duration(const std::string& key, Duration& into) {
    read(key, config::parse_duration, [&](Duration value) {
      into = value;
      return true;
    });
  }
  void flag(const std::string& key, bool& into) {
    read(key, config::parse_switch, [&](bool value) {
      into = value;
      return true;
    });
  }
  void words(const std::string& key, std::vector<std::string>& into) {
    const auto* node = find(key);
    if (node != nullptr && !config::read_words(*node, into)) bad(*node, key, "must be a list");
  }

  void bad(const config::Node& node, const std::string& key, const std::string& why) {
    problems_.add(node.line, (place_.empty() ? "" : place_ + ".") + key + ": " + why);
  }
  void problem(const config::Node& node, const std::string& why) {
    problems_.add(node.line, (place_.empty() ? "the file" : place_) + " " + why);
  }

  const config::Node& map() const { return map_; }
  const std::string& place() const { return place_; }
  config::Problems& problems() { return problems_; }

  /// Tells each key that was not asked for, with its line and the nearest known one.
  void finish() {
    for (const auto& [key, node] : map_.members) {
      if (std::ranges::count(known_, key) != 0) continue;
      auto why = "unknown key " + (place_.empty() ? "" : place_ + ".") + key;
      if (const auto near = config::nearest(key, known_); !near.empty())
        why += "; the nearest is " + near;
      problems_.add_unknown(node.line, why);
    }
  }

 private:
  template <class Parse, class Take>
  void read(const std::string& key, Parse parse, Take take) {
    const auto* node = find(key);
    if (node == nullptr) return;
    if (node->kind != config::Node::Kind::kScalar) return bad(*node, key, "must be one value");
    const auto value = parse(node->text);
    if (!value) return bad(*node, key, value.error().detail);
    if (!take(*value)) bad(*node, key, node->text + " is out of range");
  }

  const config::Node& map_;
  std::string place_;
  config::Problems& problems_;
  std::vector<std::string> known_;
};

}  // namespace hf::chaos
