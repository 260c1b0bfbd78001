#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cmath>

#include "chaos/result.hpp"

namespace hf::chaos {
namespace {

namespace json = boost::json;

/// Microseconds are enough, and fewer digits make smaller files.
double rounded(double ms) {
  return std::round(ms * 1000) / 1000;
}

template <class T>
json::value or_null(const std::optional<T>& value) {
  if (!value) return nullptr;
  return json::value(*value);
}

json::value or_null_ms(const std::optional<double>& ms) {
  if (!ms) return nullptr;
  return json::value(rounded(*ms));
}

json::value of(const std::optional<Quantiles>& q) {
  if (!q) return nullptr;
  return json::object{{"p50", rounded(q->p50)},
                      {"p90", rounded(q->p90)},
                      {"p99", rounded(q->p99)},
                      {"max", rounded(q->max)}};
}

template <class T>
json::object of(const std::map<std::string, T>& map) {
  json::object out;
  for (const auto& [key, value] : map) out[key] = value;
  return out;
}

json::object topology_of(const ChaosResult& result) {
  json::array frontends;
  for (const auto& name : result.frontends) frontends.push_back(json::object{{"name", name}});
  json::array engines;
  for (const auto& engine : result.engines) {
    engines.push_back(
        json::object{{"name", engine.name}, {"dialect", engine.dialect}, {"kind", engine.kind}});
  }
  return {{"frontends", std::move(frontends)},
          {"engines", std::move(engines)},
          {"data_cores", result.data_cores}};
}

json::object of(const FaultResult& fault) {
  return {{"name", fault.name},
          {"kind", fault.kind},
          {"target", fault.target},
          {"at_ms", rounded(fault.at_ms)},
          {"until_ms", or_null_ms(fault.until_ms)},
          {"verified", fault.verified},
          {"evidence", fault.evidence}};
}

json::object of(const CheckResult& check) {
  return {{"name", check.name},
          {"want", check.want},
          {"got", check.got},
          {"ok", check.ok},
          {"detail", check.detail}};
}

json::object of(const StreamResult& stream) {
  json::array ticks;
  ticks.reserve(stream.ticks.size());
  for (const auto& tick : stream.ticks) {
    ticks.push_back(json::array{rounded(tick.at_ms), tick.engine});
  }
  return {{"id", stream.id},
          {"endpoint", stream.endpoint},
          {"stream", stream.stream},
          {"start_ms", rounded(stream.start_ms)},
          {"end_ms", rounded(stream.end_ms)},
          {"outcome", stream.outcome},
          {"status", stream.status},
          {"error", or_null(stream.error)},
          {"orphan", stream.orphan},
          {"mode", or_null(stream.mode)},
          {"tokens", stream.tokens},
          {"pause_ms", or_null_ms(stream.pause_ms)},
          {"ticks", std::move(ticks)}};
}

json::object of(const Figures& figures) {
  return {{"streams", figures.streams},           {"complete", figures.complete},
          {"wrong_tokens", figures.wrong_tokens}, {"orphans", figures.orphans},
          {"by_mode", of(figures.by_mode)},       {"errors", of(figures.errors)},
          {"outcomes", of(figures.outcomes)},     {"sheds", figures.sheds},
          {"pause_ms", of(figures.pause_ms)},     {"ttft_ms", of(figures.ttft_ms)},
          {"itl_ms", of(figures.itl_ms)},         {"recovery_ms", or_null_ms(figures.recovery_ms)}};
}

template <class T>
json::array all_of(const std::vector<T>& items) {
  json::array out;
  out.reserve(items.size());
  for (const auto& item : items) out.push_back(of(item));
  return out;
}

}  // namespace

std::string to_json(const ChaosResult& result) {
  json::array log;
  for (const auto& line : result.log) log.push_back(json::string(line));
  const json::object whole{{"version", kResultVersion},
                           {"scenario", result.scenario},
                           {"file", result.file},
                           {"title", result.title},
                           {"inside", result.inside},
                           {"form", result.form},
                           {"commit", result.commit},
                           {"seed", result.seed},
                           {"started_at", result.started_at},
                           {"duration_ms", rounded(result.duration_ms)},
                           {"verdict", to_string(result.verdict)},
                           {"topology", topology_of(result)},
                           {"faults", all_of(result.faults)},
                           {"checks", all_of(result.checks)},
                           {"streams", all_of(result.streams)},
                           {"figures", of(result.figures)},
                           {"metrics", of(result.metrics)},
                           {"log", std::move(log)}};
  return json::serialize(whole) + "\n";
}

}  // namespace hf::chaos
