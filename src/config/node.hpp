// A configuration as it was written: scalars, lists and maps with the lines they stand on.
//
// The file is read into one of these; a flag or a variable is a scalar on line 0. What a scalar
// means is up to its key, so that `5s`, `on` and `0.5` are told apart in one place (value.hpp).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace hf::config {

struct Member;

struct Node {
  enum class Kind { kScalar, kList, kMap };
  Kind kind = Kind::kScalar;
  int line = 0;                 // 1-based; 0: not from a file
  std::string text;             // of a scalar; empty for YAML's null
  std::vector<Node> items;      // of a list
  std::vector<Member> members;  // of a map, in order, no key twice

  static Node scalar(std::string value);
};

struct Member {
  std::string key;
  Node node;
};

inline Node Node::scalar(std::string value) {
  Node node;
  node.text = std::move(value);
  return node;
}

/// One YAML document, at most 1 MiB, 32 levels, 100,000 nodes; an empty one is an empty map.
/// Errors begin with the line: aliases (`*name`), a key given twice, a second document, bad YAML.
Result<Node> parse_yaml(std::string_view text);

}  // namespace hf::config
