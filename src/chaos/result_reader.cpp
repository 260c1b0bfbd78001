#include "chaos/result_reader.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <utility>

namespace hf::chaos {
namespace {

namespace json = boost::json;

/// The members of an object; of anything else there are none.
class Members {
 public:
  explicit Members(const json::value* value) {
    if (value != nullptr && value->is_object()) object_ = &value->get_object();
  }
  const json::value* find(std::string_view name) const {
    return object_ == nullptr ? nullptr : object_->if_contains({name.data(), name.size()});
  }
  Members in(std::string_view name) const { return Members(find(name)); }

  std::string text(std::string_view name) const { return maybe_text(name).value_or(""); }
  std::optional<std::string> maybe_text(std::string_view name) const {
    const auto* value = find(name);
    if (value == nullptr || !value->is_string()) return std::nullopt;
    return std::string(value->get_string());
  }
  std::optional<double> maybe_number(std::string_view name) const { return number_of(find(name)); }
  double number(std::string_view name) const { return maybe_number(name).value_or(0); }
  std::size_t count(std::string_view name) const {
    const double value = number(name);
    return value > 0 ? static_cast<std::size_t>(value) : 0;
  }
  bool is_true(std::string_view name, bool otherwise = false) const {
    const auto* value = find(name);
    return value == nullptr || !value->is_bool() ? otherwise : value->get_bool();
  }
  template <class Call>
  void each(std::string_view name, Call call) const {
    const auto* value = find(name);
    if (value == nullptr || !value->is_array()) return;
    for (const auto& item : value->get_array()) call(item);
  }
  template <class Call>
  void each_pair(std::string_view name, Call call) const {
    const auto* value = find(name);
    if (value == nullptr || !value->is_object()) return;
    for (const auto& [key, item] : value->get_object()) {
      if (const auto number = number_of(&item)) call(std::string(key), *number);
    }
  }

  static std::optional<double> number_of(const json::value* value) {
    if (value == nullptr || !value->is_number()) return std::nullopt;
    const double number = value->to_number<double>();
    // What no clock can show would only spoil a drawing.
    return std::isfinite(number) && std::abs(number) < 1e15 ? std::optional(number) : std::nullopt;
  }

 private:
  const json::object* object_ = nullptr;
};

std::optional<Quantiles> quantiles(const Members& members) {
  if (!members.maybe_number("p50")) return std::nullopt;
  return Quantiles{members.number("p50"), members.number("p90"), members.number("p99"),
                   members.number("max")};
}

void read_counts(const Members& from, std::string_view name,
                 std::map<std::string, std::size_t>& to) {
  from.each_pair(name, [&](std::string key, double number) {
    to[std::move(key)] = number > 0 ? static_cast<std::size_t>(number) : 0;
  });
}

Figures figures_of(const Members& from) {
  Figures to;
  to.streams = from.count("streams");
  to.complete = from.count("complete");
  to.wrong_tokens = from.count("wrong_tokens");
  to.orphans = from.count("orphans");
  to.sheds = from.count("sheds");
  read_counts(from, "by_mode", to.by_mode);
  read_counts(from, "errors", to.errors);
  read_counts(from, "outcomes", to.outcomes);
  to.pause_ms = quantiles(from.in("pause_ms"));
  to.ttft_ms = quantiles(from.in("ttft_ms"));
  to.itl_ms = quantiles(from.in("itl_ms"));
  to.recovery_ms = from.maybe_number("recovery_ms");
  return to;
}

FaultResult fault_of(const Members& from) {
  FaultResult to;
  to.name = from.text("name");
  to.kind = from.text("kind");
  to.target = from.text("target");
  to.at_ms = from.number("at_ms");
  to.until_ms = from.maybe_number("until_ms");
  to.verified = from.is_true("verified");
  to.evidence = from.text("evidence");
  return to;
}

StreamResult stream_of(const Members& from) {
  StreamResult to;
  to.id = from.count("id");
  to.endpoint = from.text("endpoint");
  to.stream = from.is_true("stream", true);
  to.start_ms = from.number("start_ms");
  to.end_ms = from.number("end_ms");
  to.outcome = from.text("outcome");
  to.status = static_cast<int>(from.count("status") % 1000);
  to.error = from.maybe_text("error");
  to.orphan = from.is_true("orphan");
  to.mode = from.maybe_text("mode");
  to.tokens = from.count("tokens");
  to.pause_ms = from.maybe_number("pause_ms");
  from.each("ticks", [&](const json::value& item) {
    if (!item.is_array() || item.get_array().size() != 2) return;
    const auto at = Members::number_of(&item.get_array()[0]);
    const auto engine = Members::number_of(&item.get_array()[1]);
    if (at && engine && *engine >= -1 && *engine < 1000) {
      to.ticks.push_back({*at, static_cast<int>(*engine)});
    }
  });
  return to;
}

void read_topology(const Members& from, ChaosResult& to) {
  from.each("frontends",
            [&](const json::value& item) { to.frontends.push_back(Members(&item).text("name")); });
  from.each("engines", [&](const json::value& item) {
    const Members engine(&item);
    to.engines.push_back({engine.text("name"), engine.text("dialect"), engine.text("kind")});
  });
  to.data_cores = static_cast<int>(from.count("data_cores") % 10'000);
}

}  // namespace

Result<ChaosResult> from_json(std::string_view text) {
  boost::system::error_code error;
  const auto document = json::parse({text.data(), text.size()}, error);
  if (error) return fail(Code::kBadInput, "no JSON: " + error.message());
  const Members all(&document);
  const auto scenario = all.maybe_text("scenario");
  const auto verdict = all.maybe_text("verdict");
  if (!scenario || !verdict) {
    return fail(Code::kBadInput,
                "no result of `holdfast chaos run`: it has no scenario or verdict");
  }
  if (all.number("version") != kResultVersion) {
    return fail(Code::kBadInput, "its version is not " + std::to_string(kResultVersion) +
                                     "; run the scenario again with this build");
  }
  ChaosResult result;
  result.scenario = *scenario;
  result.verdict = *verdict == "pass"   ? Verdict::kPass
                   : *verdict == "fail" ? Verdict::kFail
                                        : Verdict::kVoid;
  result.file = all.text("file");
  result.title = all.text("title");
  result.inside = all.text("inside");
  result.form = all.text("form");
  result.commit = all.text("commit");
  if (const auto* seed = all.find("seed"); seed != nullptr && seed->is_uint64()) {
    result.seed = seed->get_uint64();
  } else {
    result.seed = all.count("seed");
  }
  result.started_at = all.text("started_at");
  result.duration_ms = all.number("duration_ms");
  read_topology(all.in("topology"), result);
  all.each("faults",
           [&](const json::value& item) { result.faults.push_back(fault_of(Members(&item))); });
  all.each("checks", [&](const json::value& item) {
    const Members check(&item);
    result.checks.push_back({check.text("name"), check.text("want"), check.text("got"),
                             check.is_true("ok"), check.text("detail")});
  });
  all.each("streams",
           [&](const json::value& item) { result.streams.push_back(stream_of(Members(&item))); });
  result.figures = figures_of(all.in("figures"));
  all.each_pair("metrics",
                [&](std::string key, double value) { result.metrics[std::move(key)] = value; });
  all.each("log", [&](const json::value& item) {
    if (item.is_string()) result.log.emplace_back(item.get_string());
  });
  return result;
}

}  // namespace hf::chaos
