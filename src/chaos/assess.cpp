#include "chaos/assess.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cmath>

#include "chaos/checks.hpp"
#include "chaos/judge.hpp"

namespace hf::chaos {
namespace {

namespace json = boost::json;

std::vector<std::string> words_in(const json::object& line, std::string_view key) {
  std::vector<std::string> out;
  const auto* list = line.if_contains(key);
  if (list == nullptr || !list->is_array()) return out;
  for (const auto& item : list->get_array())
    if (item.is_string()) out.emplace_back(item.get_string());
  return out;
}

double since(Instant at, const Evidence& evidence) {
  return at == Instant{} ? 0 : millis(at - evidence.began);
}

int index_of(const std::string& worker, const Evidence& evidence) {
  const auto it = std::ranges::find(evidence.addresses, worker);
  return it == evidence.addresses.end() ? -1 : static_cast<int>(it - evidence.addresses.begin());
}

/// What still lies in sockets, or waits for a late client, when an engine falls silent.
constexpr double kBufferedMs = 300;

/// Where the answer changed hands: the gap whose length is nearest to the pause that the frontend
/// measured, not before the engine was struck, nor long after one that silenced it. Derived, not
/// known: engines do not sign tokens.
std::size_t split_at(const std::vector<Instant>& ticks, std::size_t from, double pause_ms,
                     const Strike& strike) {
  const bool is_silent = strike.kind == "kill" || strike.kind == "stop" || strike.kind == "wedge";
  std::size_t best = ticks.size();
  double least = 0;
  for (std::size_t i = std::max<std::size_t>(from, 1); i < ticks.size(); ++i) {
    if (ticks[i] < strike.at) continue;
    if (is_silent && best != ticks.size() && millis(ticks[i - 1] - strike.at) > kBufferedMs) break;
    const double off = std::abs(millis(ticks[i] - ticks[i - 1]) - pause_ms);
    if (best != ticks.size() && off >= least) continue;
    best = i;
    least = off;
  }
  return best;
}

std::vector<int> writers_of(const Judged& answer, const Evidence& evidence) {
  const auto& ticks = answer.got->ticks;
  const auto it = evidence.access.find(answer.request_id);
  if (evidence.direct) return std::vector<int>(ticks.size(), 0);
  if (it == evidence.access.end()) return std::vector<int>(ticks.size(), -1);
  const auto& record = it->second;
  std::vector<int> out(ticks.size(), -1);
  if (record.workers.empty()) return out;
  // Attempts that never became the owner of a token stand between; first and last are certain.
  const bool is_one_each = record.workers.size() == record.modes.size() + 1;
  std::size_t from = 0;
  for (std::size_t m = 0; m <= record.modes.size(); ++m) {
    const auto worker = m == 0                     ? record.workers.front()
                        : m == record.modes.size() ? record.workers.back()
                        : is_one_each              ? record.workers[m]
                                                   : std::string();
    std::size_t to = ticks.size();
    if (m < record.modes.size()) {
      const auto name = "engine-" + std::to_string(index_of(worker, evidence) + 1);
      const auto it_was = std::ranges::find(evidence.strikes, name, &Strike::target);
      const auto strike = it_was == evidence.strikes.end() ? Strike{} : *it_was;
      const double pause = m < record.pauses_ms.size() ? record.pauses_ms[m] : 0;
      to = record.modes[m] == "restart" ? from : split_at(ticks, from, pause, strike);
    }
    for (std::size_t i = from; i < to; ++i) out[i] = index_of(worker, evidence);
    from = to;
  }
  return out;
}

std::optional<double> longest_gap(const std::vector<Instant>& ticks) {
  std::optional<double> out;
  for (std::size_t i = 1; i < ticks.size(); ++i)
    out = std::max(out.value_or(0), millis(ticks[i] - ticks[i - 1]));
  return out;
}

StreamResult stream_of(std::size_t id, const Judged& answer, const Scenario& scenario,
                       const Evidence& evidence) {
  const auto& got = *answer.got;
  StreamResult out;
  out.id = id;
  out.endpoint = answer.path;
  out.stream = answer.stream;
  out.start_ms = since(answer.started_at, evidence);
  out.end_ms = since(answer.ended_at, evidence);
  out.status = got.status;
  out.tokens = got.ticks.size();
  out.pause_ms = longest_gap(got.ticks);
  const auto judgement = judge(got, *answer.want, {.same_created = scenario.is_simulated()});
  out.outcome = judgement.outcome;
  out.error = got.error;
  if (!out.error && !judgement.detail.empty()) out.error = judgement.detail;
  if (judgement.outcome == "wrong") out.error = judgement.detail;
  if (const auto it = evidence.access.find(answer.request_id); it != evidence.access.end()) {
    out.orphan = !it->second.modes.empty();
    if (out.orphan) out.mode = it->second.modes.back();
  }
  // One that had only its end left when it was struck waited for that.
  if (out.orphan && out.outcome == "complete" && !got.ticks.empty())
    out.pause_ms = std::max(out.pause_ms.value_or(0), millis(answer.ended_at - got.ticks.back()));
  const auto writers = writers_of(answer, evidence);
  for (std::size_t i = 0; i < got.ticks.size(); ++i)
    out.ticks.push_back({since(got.ticks[i], evidence), writers[i]});
  return out;
}

void add_times(const std::vector<StreamResult>& streams, Figures& figures) {
  std::vector<double> pauses;
  std::vector<double> firsts;
  std::vector<double> gaps;
  for (const auto& stream : streams) {
    if (stream.orphan && stream.pause_ms) pauses.push_back(*stream.pause_ms);
    if (!stream.stream || stream.ticks.empty()) continue;
    firsts.push_back(stream.ticks.front().at_ms - stream.start_ms);
    for (std::size_t i = 1; i < stream.ticks.size(); ++i)
      gaps.push_back(stream.ticks[i].at_ms - stream.ticks[i - 1].at_ms);
  }
  figures.pause_ms = quantiles_of(std::move(pauses));
  figures.ttft_ms = quantiles_of(std::move(firsts));
  figures.itl_ms = quantiles_of(std::move(gaps));
}

/// Where no access log can be read, the frontends' own counters tell how many were moved.
void take_orphans_from_metrics(const Evidence& evidence, Figures& figures) {
  if (!evidence.access.empty() || evidence.direct) return;
  for (const auto& [series, value] : evidence.metrics) {
    constexpr std::string_view kMode = "mode=\"";
    const auto at = series.find(kMode);
    if (!series.starts_with("holdfast_migrations_total{") || at == std::string::npos) continue;
    const auto from = at + kMode.size();
    const auto count = static_cast<std::size_t>(std::max(value, 0.0));
    figures.by_mode[series.substr(from, series.find('"', from) - from)] += count;
    figures.orphans += count;
  }
}

void add_figures(const Evidence& evidence, ChaosResult& result) {
  auto& figures = result.figures;
  figures.streams = result.streams.size();
  for (const auto& stream : result.streams) {
    ++figures.outcomes[stream.outcome];
    figures.complete += stream.outcome == "complete" ? 1 : 0;
    figures.wrong_tokens += stream.outcome == "wrong" ? 1 : 0;
    figures.orphans += stream.orphan ? 1 : 0;
    if (stream.mode) ++figures.by_mode[*stream.mode];
    const bool is_error = stream.outcome == "error" || stream.outcome == "refused";
    if (is_error && stream.error) ++figures.errors[*stream.error];
    figures.sheds += stream.status == 503 || stream.status == 429 ? 1 : 0;
  }
  take_orphans_from_metrics(evidence, figures);
  add_times(result.streams, figures);
}

}  // namespace

std::map<std::string, AccessRecord> parse_access_log(std::string_view text) {
  std::map<std::string, AccessRecord> out;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    boost::system::error_code error;
    const auto value = json::parse(text.substr(0, end), error);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (error || !value.is_object()) continue;
    const auto& line = value.get_object();
    const auto* id = line.if_contains("request_id");
    if (id == nullptr || !id->is_string()) continue;
    AccessRecord record{.workers = words_in(line, "workers"),
                        .modes = words_in(line, "modes"),
                        .reasons = words_in(line, "reasons"),
                        .pauses_ms = {}};
    if (const auto* pauses = line.if_contains("pauses_ms"); pauses != nullptr && pauses->is_array())
      for (const auto& pause : pauses->get_array())
        record.pauses_ms.push_back(pause.is_number() ? pause.to_number<double>() : 0);
    out[std::string(id->get_string())] = std::move(record);
  }
  return out;
}

double sum_of(const std::map<std::string, double>& series, std::string_view key) {
  const auto brace = std::min(key.find('{'), key.size());
  const auto name = key.substr(0, brace);
  std::vector<std::string_view> labels;
  auto rest = key.substr(std::min(brace + 1, key.size()));
  if (rest.ends_with('}')) rest.remove_suffix(1);
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    labels.push_back(rest.substr(0, comma));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  double sum = 0;
  for (const auto& [text, value] : series) {
    const std::string_view whole = text;
    if (whole.substr(0, whole.find('{')) != name) continue;
    const auto has = [&](auto label) { return whole.find(label) != std::string_view::npos; };
    if (std::ranges::all_of(labels, has)) sum += value;
  }
  return sum;
}

void assess(const Scenario& scenario, const Evidence& evidence, ChaosResult& result) {
  for (std::size_t i = 0; i < evidence.answers.size(); ++i)
    result.streams.push_back(stream_of(i, evidence.answers[i], scenario, evidence));
  add_figures(evidence, result);
  for (const auto& [series, value] : evidence.metrics)
    if (value != 0 && series.starts_with("holdfast_") && !series.contains("_bucket"))
      result.metrics[series] = value;
  result.log.insert(result.log.end(), evidence.problems.begin(), evidence.problems.end());
  judge_run(scenario, evidence, result);
}

}  // namespace hf::chaos
