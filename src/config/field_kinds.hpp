// The kinds of settings: how a duration, a size, a choice, a list… is bound to a member.
//
// `get` is a generic lambda from the owner (const or not) to a reference to the member:
// [](auto& o) -> auto& { return o.migration.admission_hold; }
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "config/field.hpp"
#include "config/value.hpp"

namespace hf::config {

/// From text to a value; the error says what to give.
template <class V>
using Parse = std::function<Result<V>(std::string_view)>;
template <class V>
using Show = std::function<std::string(const V&)>;

template <class T, class V, class Get>
Field<T> single(std::string name, std::string type, Get get, const Parse<V>& parse,
                const Show<V>& show, std::string help) {
  Field<T> field;
  field.name = std::move(name);
  field.type = std::move(type);
  field.help = std::move(help);
  field.set = [get, parse, type = field.type](T& target, const Node& node, const std::string& place,
                                              Problems& problems) {
    if (node.kind != Node::Kind::kScalar)
      return problems.add(node.line, place + " is one value (" + type + ")");
    auto value = parse(trimmed(node.text));
    if (!value) return problems.add(node.line, place + ": " + value.error().detail);
    get(target) = std::move(*value);
  };
  field.show = [get, show](const T& from) { return show(get(from)); };
  field.copy = [get](T& to, const T& from) { get(to) = get(from); };
  return field;
}

/// A value that may be left out: `none` or nothing.
template <class V>
Parse<std::optional<V>> maybe(const Parse<V>& parse) {
  return [parse](std::string_view text) -> Result<std::optional<V>> {
    if (text.empty() || text == "none") return std::optional<V>();
    auto value = parse(text);
    if (!value) return std::unexpected(value.error());
    return std::optional<V>(std::move(*value));
  };
}
template <class V>
Show<std::optional<V>> maybe(const Show<V>& show) {
  return [show](const std::optional<V>& value) { return value ? show(*value) : "none"; };
}

/// Refuses what lies outside of [min, max].
template <class V>
Parse<V> within(const Parse<V>& parse, V min, V max, const std::string& range) {
  return [=](std::string_view text) -> Result<V> {
    auto value = parse(text);
    if (value && (*value < min || *value > max))
      return fail(Code::kBadInput, std::string(text) + " is out of range; give " + range);
    return value;
  };
}

template <class T, class Get>
Field<T> text_field(std::string name, std::string type, Get get, std::string help) {
  return single<T, std::string>(
      std::move(name), std::move(type), get,
      [](std::string_view text) -> Result<std::string> { return std::string(text); },
      [](const std::string& value) { return value; }, std::move(help));
}

template <class T, class Get>
Field<T> duration_field(std::string name, Get get, Duration min, Duration max, std::string help) {
  const auto range = show_duration(min) + "…" + show_duration(max);
  return single<T, Duration>(std::move(name), "duration, " + range, get,
                             within<Duration>(parse_duration, min, max, range), show_duration,
                             std::move(help));
}

template <class T, class Get>
Field<T> maybe_duration_field(std::string name, Get get, Duration min, Duration max,
                              std::string help) {
  const auto range = show_duration(min) + "…" + show_duration(max);
  return single<T, std::optional<Duration>>(
      std::move(name), "duration, " + range, get,
      maybe<Duration>(within<Duration>(parse_duration, min, max, range)),
      maybe<Duration>(Show<Duration>(show_duration)), std::move(help));
}

template <class T, class Get>
Field<T> size_field(std::string name, Get get, std::int64_t min, std::int64_t max,
                    std::string help) {
  const auto range = show_size(min) + "…" + show_size(max);
  return single<T, std::int64_t>(std::move(name), "size, " + range, get,
                                 within<std::int64_t>(parse_size, min, max, range), show_size,
                                 std::move(help));
}

/// Any integer member; bounds keep it within its type.
template <class T, class Get>
Field<T> count_field(std::string name, Get get, std::int64_t min, std::int64_t max,
                     std::string help) {
  using V = std::remove_cvref_t<decltype(get(std::declval<T&>()))>;
  const auto range = std::to_string(min) + "…" + std::to_string(max);
  const auto bounded = within<std::int64_t>(parse_count, min, max, range);
  return single<T, V>(
      std::move(name), range, get,
      [bounded](std::string_view text) -> Result<V> {
        const auto value = bounded(text);
        if (!value) return std::unexpected(value.error());
        return static_cast<V>(*value);
      },
      [](const V& value) { return std::to_string(value); }, std::move(help));
}

template <class T, class Get>
Field<T> switch_field(std::string name, Get get, std::string help) {
  auto field = single<T, bool>(
      std::move(name), "true | false", get, parse_switch,
      [](const bool& value) { return std::string(value ? "true" : "false"); }, std::move(help));
  field.is_switch = true;
  return field;
}

/// One of some words, each standing for a value.
template <class T, class V, class Get>
Field<T> choice_field(std::string name, Get get,
                      const std::vector<std::pair<std::string, V>>& choices, std::string help) {
  std::string type;
  for (const auto& choice : choices) type += (type.empty() ? "" : " | ") + choice.first;
  return single<T, V>(
      std::move(name), type, get,
      [choices, type](std::string_view text) -> Result<V> {
        for (const auto& [word, value] : choices) {
          if (word == text) return value;
        }
        return fail(Code::kBadInput, "'" + std::string(text) + "'; choose " + type);
      },
      [choices](const V& value) {
        const auto known = [&](const auto& choice) { return choice.second == value; };
        const auto it = std::ranges::find_if(choices, known);
        return it == choices.end() ? std::string() : it->first;
      },
      std::move(help));
}

/// A list of words, in YAML or on one line with commas; `check` may refuse one.
template <class T, class Get>
Field<T> words_field(std::string name, std::string type, Get get,
                     const std::function<Result<void>(const std::string&)>& check,
                     std::string help) {
  Field<T> field;
  field.name = std::move(name);
  field.type = std::move(type);
  field.help = std::move(help);
  field.set = [get, check, type = field.type](T& target, const Node& node, const std::string& place,
                                              Problems& problems) {
    std::vector<std::string> words;
    if (!read_words(node, words))
      return problems.add(node.line, place + " is a list (" + type + ")");
    for (const auto& word : words) {
      if (auto fine = check ? check(word) : Result<void>(); !fine)
        return problems.add(node.line, place + ": " + fine.error().detail);
    }
    get(target) = std::move(words);
  };
  field.show = [get](const T& from) { return show_words(get(from)); };
  field.copy = [get](T& to, const T& from) { get(to) = get(from); };
  return field;
}

}  // namespace hf::config
