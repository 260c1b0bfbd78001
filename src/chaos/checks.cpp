#include "chaos/checks.hpp"

#include <algorithm>
#include <cstdio>

namespace hf::chaos {
namespace {

constexpr std::size_t kExamplesMax = 5;

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text,
                value == static_cast<double>(static_cast<long long>(value)) ? "%.0f" : "%.1f",
                value);
  return text;
}

std::string example(const StreamResult& stream) {
  return "stream " + std::to_string(stream.id) + ": " + stream.outcome +
         (stream.error ? " (" + *stream.error + ")" : "");
}

class Judge {
 public:
  Judge(const Scenario& scenario, const Evidence& evidence, ChaosResult& result)
      : scenario_(scenario), evidence_(evidence), result_(result), checks_(scenario.checks) {}

  void run() {
    complete();
    wrong();
    expectations();
    orphans();
    words("modes", checks_.modes, &AccessRecord::modes);
    words("reasons", checks_.reasons, &AccessRecord::reasons);
    times();
    counts();
    metrics();
    sessions();
    processes();
    verdict();
  }

 private:
  void add(std::string name, std::string want, std::string got, bool ok, std::string detail = {}) {
    is_failed_ = is_failed_ || !ok;
    result_.checks.push_back(
        {std::move(name), std::move(want), std::move(got), ok, std::move(detail)});
  }
  void bound(const std::string& name, const Bound& limit, double got, const char* unit = "",
             std::string detail = {}) {
    const bool ok = limit.holds(got);
    add(name, limit.text, number(got) + unit, ok, ok ? std::string() : std::move(detail));
  }
  /// Without which nothing was shown.
  void struck(const std::string& name, const Bound& limit, double got) {
    const bool is_void = limit.op == Bound::Op::kAtLeast && !limit.holds(got);
    if (!is_void) return bound(name, limit, got);
    is_void_ = true;
    result_.checks.push_back({name, limit.text, number(got), false, "nothing was hit"});
  }

  template <class Predicate>
  std::string examples(Predicate is_one) const {
    std::string out;
    std::size_t count = 0;
    for (const auto& stream : result_.streams) {
      if (!is_one(stream) || ++count > kExamplesMax) continue;
      out += (out.empty() ? "" : "\n") + example(stream);
    }
    if (count > kExamplesMax) out += "\nand " + std::to_string(count - kExamplesMax) + " more";
    return out;
  }
  const LoadGroup& group_of(const StreamResult& stream) const {
    return scenario_.load[evidence_.answers[stream.id].group];
  }

  void complete() {
    std::size_t all = 0;
    std::size_t complete = 0;
    for (const auto& stream : result_.streams) {
      if (group_of(stream).expect != "complete") continue;
      ++all;
      complete += stream.outcome == "complete" ? 1 : 0;
    }
    if (all == 0) return;
    const double share = 100.0 * static_cast<double>(complete) / static_cast<double>(all);
    const bool ok = checks_.complete.holds(share);
    add("complete", checks_.complete.text,
        std::to_string(complete) + " of " + std::to_string(all) + " = " + number(share) + " %", ok,
        ok ? "" : examples([this](const auto& stream) {
          return group_of(stream).expect == "complete" && stream.outcome != "complete";
        }));
  }

  void wrong() {
    const auto count = result_.figures.wrong_tokens;
    add("wrong_tokens", "0", std::to_string(count), count == 0,
        examples([](const auto& stream) { return stream.outcome == "wrong"; }));
  }

  static bool is_as_expected(const StreamResult& stream, const std::string& expect) {
    if (stream.outcome == "wrong") return false;
    if (expect == "any") return true;
    if (expect == "stopped" || expect == "client_gone")
      return stream.outcome == expect || stream.outcome == "complete";
    return (stream.outcome == "error" || stream.outcome == "refused") && stream.error == expect;
  }

  void expectations() {
    for (const auto& group : scenario_.load) {
      if (group.expect == "complete") continue;
      std::size_t all = 0;
      std::size_t good = 0;
      const auto is_bad = [&](const StreamResult& stream) {
        return &group_of(stream) == &group && !is_as_expected(stream, group.expect);
      };
      for (const auto& stream : result_.streams) {
        if (&group_of(stream) != &group) continue;
        ++all;
        good += is_bad(stream) ? 0 : 1;
      }
      add("group " + group.name, "all " + group.expect,
          std::to_string(good) + " of " + std::to_string(all), good == all && all > 0,
          examples(is_bad));
    }
  }

  void orphans() {
    if (checks_.orphans)
      struck("orphans", *checks_.orphans, static_cast<double>(result_.figures.orphans));
    if (!checks_.hit) return;
    const auto count = std::ranges::count_if(result_.streams, [this](const auto& stream) {
      return stream.pause_ms && *stream.pause_ms >= millis(checks_.hit_gap);
    });
    struck("hit", *checks_.hit, static_cast<double>(count));
  }

  void words(const std::string& name, const std::optional<std::vector<std::string>>& allowed,
             std::vector<std::string> AccessRecord::* list) {
    if (!allowed) return;
    std::map<std::string, std::size_t> seen;
    for (const auto& answer : evidence_.answers) {
      const auto it = evidence_.access.find(answer.request_id);
      if (it == evidence_.access.end()) continue;
      for (const auto& word : it->second.*list) ++seen[word];
    }
    std::string want;
    std::string got;
    bool ok = true;
    for (const auto& word : *allowed) want += (want.empty() ? "" : ", ") + word;
    for (const auto& [word, count] : seen) {
      got += (got.empty() ? "" : ", ") + word + " " + std::to_string(count);
      ok = ok && std::ranges::count(*allowed, word) != 0;
    }
    add(name, "only " + want, got.empty() ? "none" : got, ok);
  }

  std::optional<double> time_of(const std::string& key) const {
    const auto& figures = result_.figures;
    if (key == "recovery") return figures.recovery_ms;
    if (key == "told") return evidence_.told_ms;
    if (key == "pause_min") {
      std::optional<double> least;
      for (const auto& stream : result_.streams)
        if (stream.orphan && stream.pause_ms)
          least = std::min(least.value_or(*stream.pause_ms), *stream.pause_ms);
      return least;
    }
    const auto& q = key.starts_with("pause")  ? figures.pause_ms
                    : key.starts_with("ttft") ? figures.ttft_ms
                                              : figures.itl_ms;
    if (!q) return std::nullopt;
    if (key.ends_with("p50")) return q->p50;
    if (key.ends_with("p90")) return q->p90;
    if (key.ends_with("p99")) return q->p99;
    return q->max;
  }

  void times() {
    for (const auto& [key, limit] : checks_.times) {
      const auto got = time_of(key);
      if (got) {
        bound(key, limit, *got, " ms");
      } else {
        add(key, limit.text, "not measured", false);
      }
    }
  }

  void counts() {
    if (checks_.sheds) bound("sheds", *checks_.sheds, static_cast<double>(result_.figures.sheds));
    for (const auto& [code, limit] : checks_.errors) {
      const auto it = result_.figures.errors.find(code);
      bound("errors." + code, limit,
            it == result_.figures.errors.end() ? 0 : static_cast<double>(it->second));
    }
    if (checks_.engines_alive)
      bound("engines_alive", *checks_.engines_alive,
            static_cast<double>(evidence_.engines_alive.value_or(-1)));
  }

  void metrics() {
    for (const auto& [key, limit] : checks_.metrics)
      bound(key, limit, sum_of(evidence_.metrics, key));
  }

  /// A session may leave an engine only once that engine was struck.
  void sessions() {
    if (!checks_.sessions) return;
    std::map<std::pair<std::size_t, std::size_t>, std::string> places;
    std::size_t moved = 0;
    std::string bad;
    for (const auto& answer : evidence_.answers) {
      const auto it = evidence_.access.find(answer.request_id);
      if (!scenario_.load[answer.group].sessions || it == evidence_.access.end() ||
          it->second.workers.empty())
        continue;
      for (const auto& worker : it->second.workers) {
        auto& place = places[{answer.group, answer.member}];
        if (!place.empty() && place != worker) {
          ++moved;
          const auto at = std::ranges::find(evidence_.addresses, place);
          const auto index = static_cast<std::size_t>(at - evidence_.addresses.begin());
          if (index >= evidence_.was_struck.size() || !evidence_.was_struck[index])
            bad += (bad.empty() ? "" : "\n") + answer.request_id + " left " + place;
        }
        place = worker;
      }
    }
    add("sessions_stay", "none leaves an engine that was not struck",
        std::to_string(moved) + " moves of " + std::to_string(places.size()) + " sessions",
        bad.empty() && !places.empty(), bad);
    if (moved == 0) is_void_ = true;
  }

  void processes() {
    for (const auto& [name, want] : checks_.exits) {
      const auto it = evidence_.exits.find(name);
      const bool is_known = it != evidence_.exits.end() && it->second;
      add("exits." + name, std::to_string(want), is_known ? std::to_string(*it->second) : "runs",
          is_known && *it->second == want);
    }
    add("left_over", "nothing runs at the end",
        evidence_.left_over.empty() ? "nothing" : evidence_.left_over, evidence_.left_over.empty());
    std::string bad;
    for (const auto& line : evidence_.ended_badly) bad += (bad.empty() ? "" : "\n") + line;
    add("ends", "every process ends in order", bad.empty() ? "yes" : "no", bad.empty(), bad);
  }

  void verdict() {
    const bool is_proved = std::ranges::all_of(result_.faults, &FaultResult::verified);
    const bool is_void =
        is_void_ || !is_proved || !evidence_.problems.empty() || result_.streams.empty();
    result_.verdict = is_failed_ ? Verdict::kFail : is_void ? Verdict::kVoid : Verdict::kPass;
  }

  const Scenario& scenario_;
  const Evidence& evidence_;
  ChaosResult& result_;
  const Checks& checks_;
  bool is_failed_ = false;
  bool is_void_ = false;
};

}  // namespace

void judge_run(const Scenario& scenario, const Evidence& evidence, ChaosResult& result) {
  Judge(scenario, evidence, result).run();
}

}  // namespace hf::chaos
