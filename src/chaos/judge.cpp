#include "chaos/judge.hpp"

#include <algorithm>

namespace hf::chaos {
namespace {

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const auto& part : parts) out += (out.empty() ? "" : "; ") + part;
  return out;
}

/// Where two texts part, with some of what stands there.
std::string parting(const std::string& got, const std::string& want) {
  const auto at = static_cast<std::size_t>(std::ranges::mismatch(got, want).in1 - got.begin());
  const auto near = [at](const std::string& text) { return "'" + excerpt(text, at, 40) + "'"; };
  return "text differs from byte " + std::to_string(at) + " on: " + near(got) + " instead of " +
         near(want) + " (" + std::to_string(got.size()) + " bytes instead of " +
         std::to_string(want.size()) + ")";
}

std::string shown(const std::optional<Usage>& usage) {
  if (!usage) return "none";
  return std::to_string(usage->prompt) + "+" + std::to_string(usage->completion) + "=" +
         std::to_string(usage->total);
}

bool is_prefix(const Transcript& got, const Transcript& want) {
  return want.text.starts_with(got.text);
}

Judgement wrong(std::string why) {
  return {"wrong", std::move(why)};
}

/// An answer that is not whole: its text must be a prefix, and it must not look whole.
Judgement unfinished(const Transcript& got, const Transcript& want, std::string outcome,
                     std::string detail) {
  if (!is_prefix(got, want)) return wrong(parting(got.text, want.text));
  if (looks_whole(got)) return wrong(outcome + ", but looks like a whole answer");
  return {std::move(outcome), std::move(detail)};
}

/// An operator's `stop`: what was produced stays and is whole in itself.
Judgement stopped(const Transcript& got, const Transcript& want) {
  if (!is_prefix(got, want)) return wrong(parting(got.text, want.text));
  if (!got.done || !got.clean || got.finish != "stop")
    return {"cut", "stopped by an operator, but not ended with finish reason stop and [DONE]"};
  return {"stopped", ""};
}

}  // namespace

bool looks_whole(const Transcript& t) {
  return t.status == 200 && !t.error && (t.done || t.clean || !t.finish.empty());
}

std::vector<std::string> differences(const Transcript& got, const Transcript& want,
                                     const JudgeOptions& options) {
  std::vector<std::string> out;
  const auto differ = [&out](const std::string& name, const std::string& a, const std::string& b) {
    if (a != b) out.push_back(name + " is '" + a + "' instead of '" + b + "'");
  };
  if (got.text != want.text) out.push_back(parting(got.text, want.text));
  differ("finish reason", got.finish, want.finish);
  differ("number of roles", std::to_string(got.roles), std::to_string(want.roles));
  differ("usage", shown(got.usage), shown(want.usage));
  differ("[DONE]", std::to_string(got.done), std::to_string(want.done));
  differ("clean end", std::to_string(got.clean), std::to_string(want.clean));
  if (got.ids.size() != 1) out.push_back(std::to_string(got.ids.size()) + " different ids");
  if (got.models != want.models) out.emplace_back("another model");
  if (options.same_created && got.created.size() != 1)
    out.push_back(std::to_string(got.created.size()) + " different values of created");
  return out;
}

Judgement judge(const Transcript& got, const Transcript& want, const JudgeOptions& options) {
  if (want.status != 200 || !want.broken.empty() || want.error || !want.done || !want.clean)
    return wrong("there is no right answer to compare with: " + want.broken +
                 want.error.value_or(""));
  if (!got.problems.empty()) return wrong(joined(got.problems));
  if (got.left) {
    // It may have got all of it before it left.
    if (!is_prefix(got, want)) return wrong(parting(got.text, want.text));
    return {"client_gone", ""};
  }
  if (got.status == 0) return {"refused", "no answer: " + got.broken};
  if (got.status != 200) return unfinished(got, want, "refused", std::to_string(got.status));
  if (got.error) {
    if (got.done || got.clean || !got.finish.empty())
      return wrong("an error, but the stream ends like a whole answer");
    return unfinished(got, want, "error", *got.error);
  }
  if (got.cancelled == "stop" && got.text != want.text) return stopped(got, want);
  if (!got.broken.empty() && !got.done && got.finish.empty())
    return unfinished(got, want, "cut", got.broken);
  const auto found = differences(got, want, options);
  return found.empty() ? Judgement{"complete", ""} : wrong(joined(found));
}

}  // namespace hf::chaos
