#include "config/field.hpp"

#include <algorithm>
#include <numeric>

#include "config/value.hpp"

namespace hf::config {
namespace {

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto corner = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const auto changed = corner + (a[i] == b[j] ? 0 : 1);
      corner = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

class Matcher {
 public:
  Matcher(const Names& names, const std::string& place, Problems& problems)
      : names_(names), place_(place), problems_(problems), seen_(names.names.size()) {}

  void read(const Node& map, const std::string& prefix) {
    for (const auto& [key, node] : map.members) {
      const auto name = prefix + key;
      const auto field = find(name);
      const bool is_group = std::ranges::any_of(
          names_.names, [&](const auto& known) { return known.starts_with(name + "."); });
      if (field < names_.names.size() && !(is_group && node.kind == Node::Kind::kMap)) {
        take(field, node);
      } else if (is_group && node.kind == Node::Kind::kMap) {
        read(node, name + ".");
      } else if (is_group) {
        if (node.kind != Node::Kind::kScalar || !node.text.empty())
          problems_.add(node.line, place_ + name + " is a group; give its keys below it");
      } else {
        unknown(name, node.line);
      }
    }
  }

  std::vector<Match> take_found() { return std::move(found_); }

 private:
  std::size_t find(const std::string& name) const {
    for (std::size_t i = 0; i < names_.names.size(); ++i) {
      if (names_.names[i] == name || names_.also_names[i] == name) return i;
    }
    return names_.names.size();
  }

  void take(std::size_t field, const Node& node) {
    if (seen_[field]) {
      problems_.add(node.line, place_ + names_.names[field] + " is given twice");
      return;
    }
    seen_[field] = true;
    found_.push_back({field, &node});
  }

  void unknown(const std::string& name, int line) {
    auto text = "unknown key " + place_ + name;
    if (const auto near = nearest(name, with_groups()); !near.empty())
      text += "; the nearest is " + place_ + near;
    problems_.add_unknown(line, text);
  }

  std::vector<std::string> with_groups() const {
    auto out = names_.names;
    for (const auto& known : names_.names) {
      if (const auto dot = known.find('.'); dot != std::string::npos)
        out.push_back(known.substr(0, dot));
    }
    return out;
  }

  const Names& names_;
  const std::string& place_;
  Problems& problems_;
  std::vector<bool> seen_;
  std::vector<Match> found_;
};

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  constexpr std::size_t kWordMax = 100;  // the table of distances is quadratic
  if (word.size() > kWordMax) return {};
  const std::string* best = nullptr;
  std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    // A forgotten or a wrong group is the other common mistake.
    const auto dot = candidate.rfind('.');
    const bool same_end =
        dot != std::string::npos &&
        candidate.substr(dot + 1) == word.substr(word.rfind('.') + 1);  // npos + 1 is 0
    const auto off =
        same_end ? std::min<std::size_t>(distance(word, candidate), 2) : distance(word, candidate);
    if (off < least) {
      least = off;
      best = &candidate;
    }
  }
  return best == nullptr ? std::string() : *best;
}

bool read_words(const Node& node, std::vector<std::string>& words) {
  words.clear();
  for (const auto& item : node.items) {
    if (item.kind != Node::Kind::kScalar) return false;
    words.push_back(item.text);
  }
  if (node.kind != Node::Kind::kScalar) return node.kind == Node::Kind::kList;
  auto text = trimmed(node.text);
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    if (const auto word = trimmed(text.substr(0, comma)); !word.empty()) words.emplace_back(word);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return true;
}

std::string show_words(const std::vector<std::string>& words) {
  std::string out = "[";
  for (const auto& word : words) out += (out.size() > 1 ? ", " : "") + word;
  return out + "]";
}

std::vector<Match> match(const Node& map, const Names& names, const std::string& place,
                         Problems& problems) {
  if (map.kind != Node::Kind::kMap) {
    problems.add(map.line, (place.empty() ? "the file" : place.substr(0, place.size() - 1)) +
                               " must be a map, as `key: value`");
    return {};
  }
  Matcher matcher(names, place, problems);
  matcher.read(map, "");
  return matcher.take_found();
}

}  // namespace hf::config
