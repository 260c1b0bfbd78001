#include "chaos/result.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <gtest/gtest.h>

namespace hf::chaos {
namespace {

ChaosResult a_result() {
  ChaosResult r;
  r.scenario = "worker_kill";
  r.form = "quick";
  r.seed = 7;
  r.duration_ms = 1234.5678;
  r.verdict = Verdict::kFail;
  r.frontends = {"frontend-1"};
  r.engines = {{"engine-1", "vllm", "simulated"}};
  r.faults = {{"kill engine-1", "kill", "engine-1", 10.0, {}, true, "gone"}};
  r.checks = {{"wrong_tokens", "0", "1", false, "stream 3: <\"x\"> & more"}};
  StreamResult s;
  s.id = 3;
  s.outcome = "wrong";
  s.ticks = {{1.5, 0}, {2.25, -1}};
  r.streams = {s};
  r.figures.by_mode["tokens"] = 2;
  r.figures.pause_ms = Quantiles{1, 2, 3, 4};
  r.metrics["holdfast_migrations_total{mode=\"tokens\"}"] = 2;
  return r;
}

TEST(Quantiles, AreByNearestRank) {
  EXPECT_FALSE(quantiles_of({}));
  const auto one = quantiles_of({5});
  EXPECT_EQ(one->p50, 5);
  EXPECT_EQ(one->max, 5);
  std::vector<double> hundred;
  for (int i = 100; i > 0; --i) hundred.push_back(i);
  const auto q = quantiles_of(hundred);
  EXPECT_EQ(q->p50, 50);
  EXPECT_EQ(q->p90, 90);
  EXPECT_EQ(q->p99, 99);
  EXPECT_EQ(q->max, 100);
}

TEST(ResultJson, HasEveryFieldAndNullsForWhatIsAbsent) {
  const auto v = boost::json::parse(to_json(a_result()));
  EXPECT_EQ(v.at("version"), 1);
  EXPECT_EQ(v.at("verdict"), "fail");
  EXPECT_EQ(v.at("duration_ms").as_double(), 1234.568);
  EXPECT_EQ(v.at("topology").at("engines").at(0).at("kind"), "simulated");
  EXPECT_TRUE(v.at("faults").at(0).at("until_ms").is_null());
  EXPECT_EQ(v.at("faults").at(0).at("verified"), true);
  const auto& stream = v.at("streams").at(0);
  EXPECT_TRUE(stream.at("mode").is_null());
  EXPECT_EQ(stream.at("ticks").at(1).at(1), -1);
  EXPECT_EQ(stream.at("ticks").at(0).at(0), 1.5);
  EXPECT_EQ(v.at("figures").at("by_mode").at("tokens"), 2);
  EXPECT_EQ(v.at("figures").at("pause_ms").at("p99"), 3.0);
  EXPECT_TRUE(v.at("figures").at("recovery_ms").is_null());
}

TEST(Junit, TellsFailuresAndVoidRunsApart) {
  auto failed = a_result();
  auto void_run = a_result();
  void_run.verdict = Verdict::kVoid;
  void_run.faults[0].verified = false;
  auto passed = a_result();
  passed.verdict = Verdict::kPass;
  const std::vector<ChaosResult> all{failed, void_run, passed};
  const auto xml = to_junit(all);
  EXPECT_NE(xml.find("tests=\"3\" failures=\"1\" errors=\"1\""), std::string::npos) << xml;
  EXPECT_NE(xml.find("stream 3: &lt;&quot;x&quot;&gt; &amp; more"), std::string::npos) << xml;
  EXPECT_NE(xml.find("kill engine-1 did not take effect: gone"), std::string::npos) << xml;
}

}  // namespace
}  // namespace hf::chaos
