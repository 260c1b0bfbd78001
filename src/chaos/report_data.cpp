// What the script of a report draws: the lanes that fit, ticks as differences.
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cmath>

#include "chaos/report.hpp"
#include "chaos/report_parts.hpp"

namespace hf::chaos {
namespace {

namespace json = boost::json;

/// 0: what no client should see; 1: an error in order; 2: a fault struck it; 3: the rest.
int group_of(const StreamResult& stream) {
  if (stream.outcome == "error" || stream.outcome == "refused") return 1;
  const bool well = stream.outcome == "complete" || stream.outcome == "client_gone" ||
                    stream.outcome == "stopped";
  return !well ? 0 : stream.orphan || stream.mode ? 2 : 3;
}

std::vector<const StreamResult*> lanes_of(const ChaosResult& result) {
  std::vector<const StreamResult*> lanes;
  lanes.reserve(result.streams.size());
  for (const auto& stream : result.streams) lanes.push_back(&stream);
  std::ranges::sort(lanes, {}, [](const StreamResult* s) {
    return std::pair(group_of(*s), std::pair(s->start_ms, s->id));
  });
  std::size_t ticks = 0;
  const auto end = std::ranges::find_if(lanes, [&](const StreamResult* s) {
    ticks += s->ticks.size();
    return ticks > kTicksMax;
  });
  lanes.erase(end, lanes.end());
  if (lanes.size() > kLanesMax) lanes.resize(kLanesMax);
  return lanes;
}

/// Hundredths of a millisecond.
std::int64_t hundredths(double ms) {
  return std::llround(std::clamp(ms, -1e12, 1e12) * 100);
}

json::object lane(const StreamResult& stream) {
  json::array steps;
  json::array engines;  // [engine, how many ticks of it], in turn
  std::int64_t before = 0;
  for (const auto& tick : stream.ticks) {
    const auto at = hundredths(tick.at_ms);
    steps.push_back(at - before);
    before = at;
    if (engines.empty() || engines[engines.size() - 2] != tick.engine) {
      engines.push_back(tick.engine);
      engines.push_back(0);
    }
    engines.back() = engines.back().to_number<int>() + 1;
  }
  json::object out{{"i", stream.id},
                   {"g", group_of(stream)},
                   {"p", stream.endpoint},
                   {"b", hundredths(stream.start_ms)},
                   {"d", hundredths(stream.end_ms)},
                   {"o", stream.outcome},
                   {"n", stream.tokens},
                   {"t", std::move(steps)},
                   {"w", std::move(engines)}};
  if (stream.status != 0) out["s"] = stream.status;
  if (stream.error) out["e"] = *stream.error;
  if (stream.mode) out["m"] = *stream.mode;
  if (stream.orphan) out["h"] = 1;
  if (!stream.stream) out["q"] = 1;
  return out;
}

json::value or_null(const std::optional<double>& ms) {
  return ms ? json::value(hundredths(*ms)) : json::value(nullptr);
}

}  // namespace

std::string drawing_data(const ChaosResult& result) {
  json::array engines;
  for (const auto& engine : result.engines) engines.push_back(json::string(engine.name));
  json::array faults;
  for (const auto& fault : result.faults) {
    faults.push_back(json::object{{"n", fault.name},
                                  {"a", hundredths(fault.at_ms)},
                                  {"u", or_null(fault.until_ms)},
                                  {"v", fault.verified ? 1 : 0}});
  }
  json::array lanes;
  for (const auto* stream : lanes_of(result)) lanes.push_back(lane(*stream));
  const auto text = json::serialize(json::object{{"engines", std::move(engines)},
                                                 {"faults", std::move(faults)},
                                                 {"lanes", std::move(lanes)},
                                                 {"streams", result.streams.size()},
                                                 {"end", hundredths(result.duration_ms)}});
  // "</script" or "<!--" in a name must not end the element.
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace hf::chaos
