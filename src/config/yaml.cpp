// The one file that knows yaml-cpp (docs/adr). Its events, not its nodes: those lose aliases,
// which make a small file a huge one, and keys given twice.
#include <algorithm>
#include <sstream>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "config/node.hpp"

namespace hf::config {
namespace {

constexpr std::size_t kBytesMax = 1024UL * 1024;
constexpr std::size_t kDepthMax = 32;
constexpr std::size_t kNodesMax = 100'000;

struct Broken {
  int line;
  std::string why;
};

int line_of(const YAML::Mark& mark) {
  return mark.line + 1;
}

// yaml-cpp reports failures by throwing, so this does too; parse_yaml() is the boundary.
class TreeBuilder final : public YAML::EventHandler {
 public:
  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { scalar(mark, {}); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Broken{line_of(mark), "aliases (*name) are not supported; write the value out"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    const bool plain = tag == "?" || tag.empty();
    scalar(mark, plain && (value == "~" || value == "null") ? std::string() : value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(mark, Node::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(mark, Node::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    Node node;
    bool has_key = false;
    std::string key;
    int key_line = 0;
  };

  void count(const YAML::Mark& mark) {
    if (++nodes_ > kNodesMax) throw Broken{line_of(mark), "more than 100,000 values"};
  }

  void scalar(const YAML::Mark& mark, std::string value) {
    count(mark);
    if (!levels_.empty() && levels_.back().node.kind == Node::Kind::kMap &&
        !levels_.back().has_key) {
      auto& level = levels_.back();
      const auto twice = [&](const auto& member) { return member.key == value; };
      if (std::ranges::any_of(level.node.members, twice))
        throw Broken{line_of(mark), "'" + value + "' is given twice"};
      level.key = std::move(value);
      level.key_line = line_of(mark);
      level.has_key = true;
      return;
    }
    auto node = Node::scalar(std::move(value));
    node.line = line_of(mark);
    put(std::move(node));
  }

  void open(const YAML::Mark& mark, Node::Kind kind) {
    count(mark);
    if (levels_.size() >= kDepthMax) throw Broken{line_of(mark), "nested deeper than 32 levels"};
    if (!levels_.empty() && levels_.back().node.kind == Node::Kind::kMap && !levels_.back().has_key)
      throw Broken{line_of(mark), "a key must be a plain word"};
    Level level;
    level.node.kind = kind;
    level.node.line = line_of(mark);
    levels_.push_back(std::move(level));
  }

  void close() {
    auto node = std::move(levels_.back().node);
    levels_.pop_back();
    put(std::move(node));
  }

  void put(Node node) {
    if (levels_.empty()) {
      root_ = std::move(node);
      return;
    }
    auto& level = levels_.back();
    if (level.node.kind == Node::Kind::kList) {
      level.node.items.push_back(std::move(node));
    } else {
      node.line = level.key_line;  // people look for the key
      level.node.members.push_back({std::move(level.key), std::move(node)});
      level.has_key = false;
    }
  }

  Node root_{Node::Kind::kMap, 1, {}, {}, {}};
  std::vector<Level> levels_;
  std::size_t nodes_ = 0;
};

std::unexpected<Error> broken(int line, const std::string& why) {
  return fail(Code::kBadInput, "line " + std::to_string(line) + ": " + why);
}

}  // namespace

Result<Node> parse_yaml(std::string_view text) {
  if (text.size() > kBytesMax) return fail(Code::kTooLarge, "larger than 1 MiB");
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder;
    if (!parser.HandleNextDocument(builder)) return builder.take();
    TreeBuilder second;
    if (parser.HandleNextDocument(second)) return fail(Code::kBadInput, "more than one document");
    auto root = builder.take();
    if (root.kind == Node::Kind::kScalar && root.text.empty()) root.kind = Node::Kind::kMap;
    return root;
  } catch (const Broken& why) {
    return broken(why.line, why.why);
  } catch (const YAML::Exception& why) {
    return broken(line_of(why.mark), why.msg);
  }
}

}  // namespace hf::config
