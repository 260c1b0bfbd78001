#include "chaos/report.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <unistd.h>

#include "chaos/report_parts.hpp"
#include "chaos/result_reader.hpp"

namespace hf::chaos {
namespace {

constexpr std::string_view kNasty = "</script><b title=\"x\" y='z'>&<!--";

ChaosResult a_run(std::size_t streams, std::size_t tokens) {
  ChaosResult r;
  r.scenario = "worker_kill";
  r.title = kNasty;
  r.inside = kNasty;
  r.seed = 0xFFFFFFFFFFFFFFFFULL;
  r.verdict = Verdict::kFail;
  r.duration_ms = 5000;
  r.engines = {{std::string(kNasty), "vllm", "simulated"}, {"engine-2", "vllm", "simulated"}};
  r.faults = {{std::string(kNasty), "kill", "engine-1", 812.34, 900.5, false, std::string(kNasty)}};
  r.checks = {{"wrong_tokens", "0", "1", false, std::string(kNasty)}};
  for (std::size_t i = 0; i < streams; ++i) {
    StreamResult s;
    s.id = i;
    s.endpoint = kNasty;
    s.outcome = i == 7 ? "wrong" : "complete";
    s.orphan = i % 2 == 1;
    s.mode = s.orphan ? std::optional<std::string>("tokens") : std::nullopt;
    s.tokens = tokens;
    for (std::size_t t = 0; t < tokens; ++t) {
      s.ticks.push_back({1.0 + static_cast<double>(t) * 9.87, t < tokens / 2 ? 0 : 1});
    }
    r.streams.push_back(std::move(s));
  }
  r.figures.streams = r.figures.complete = streams;
  r.figures.by_mode[std::string(kNasty)] = 3;
  r.figures.pause_ms = Quantiles{1, 2, 3, 1234.5};
  r.metrics[std::string(kNasty)] = 2;
  r.log = {std::string(kNasty)};
  return r;
}

std::string data_of(const std::string& page) {
  const std::string begin = "<script type=\"application/json\" id=\"data\">";
  const auto from = page.find(begin) + begin.size();
  return page.substr(from, page.find("</script>", from) - from);
}

TEST(ResultReader, ReadsBackWhatWasWritten) {
  const auto result = a_run(3, 20);
  const auto read = from_json(to_json(result));
  ASSERT_TRUE(read) << read.error().detail;
  EXPECT_EQ(to_json(*read), to_json(result));
  EXPECT_EQ(read->seed, result.seed);
}

TEST(ResultReader, NamesWhatIsWrong) {
  EXPECT_NE(from_json("{").error().detail.find("no JSON"), std::string::npos);
  EXPECT_NE(from_json("[1]").error().detail.find("no result"), std::string::npos);
  EXPECT_NE(
      from_json(R"({"scenario":"a","verdict":"pass","version":99})").error().detail.find("version"),
      std::string::npos);
}

TEST(ResultReader, TakesAnyTypesForAbsent) {
  const auto read = from_json(R"({"version":1,"scenario":"a","verdict":"pass","streams":[1,
    {"ticks":[[1],[1,2],["a",0],[1,-7],[1e999,0]],"id":-4,"tokens":"x"}],"faults":{},"figures":[],
    "metrics":{"a":"b"},"seed":-1,"topology":null,"log":[1],"duration_ms":1e300})");
  if (!read) GTEST_SKIP() << "a number that does not fit is refused: " << read.error().detail;
  EXPECT_EQ(read->streams.size(), 2U);
  EXPECT_LE(read->streams[1].ticks.size(), 1U);
  EXPECT_EQ(read->duration_ms, 0);
}

TEST(Report, EscapesWhatComesFromResults) {
  const auto page = render_report(a_run(10, 20));
  EXPECT_EQ(page.find("<b title"), std::string::npos);
  EXPECT_EQ(page.find("<!--"), std::string::npos);
  const std::string end = "</script>";
  std::size_t scripts = 0;
  for (auto at = page.find(end); at != page.npos; at = page.find(end, at + 1)) ++scripts;
  EXPECT_EQ(scripts, 2U);
  const auto data = boost::json::parse(data_of(page));
  EXPECT_EQ(data.at("engines").at(0), kNasty.data());
  const auto index = render_index(std::vector{a_run(2, 2)});
  EXPECT_EQ(index.find("<b title"), std::string::npos);
}

TEST(Report, FetchesNothing) {
  const auto page = render_report(a_run(3, 3));
  for (const char* word : {"src=", "@import", "url(", "<link", "fetch(", "XMLHttpRequest"}) {
    EXPECT_EQ(page.find(word), std::string::npos) << word;
  }
  // The name of SVG is no address that anybody asks.
  auto at = page.find("http");
  EXPECT_EQ(page.substr(at, 26), "http://www.w3.org/2000/svg");
  EXPECT_EQ(page.find("http", at + 1), std::string::npos);
}

TEST(Report, AHundredStreamsOfFiveHundredTokensAreSmall) {
  const auto page = render_report(a_run(100, 500));
  EXPECT_LT(page.size(), 1'000'000U);
  const auto data = boost::json::parse(data_of(page));
  ASSERT_EQ(data.at("lanes").as_array().size(), 100U);
  const auto& first = data.at("lanes").at(0);  // the wrong one comes first, then the struck
  EXPECT_EQ(first.at("i"), 7);
  EXPECT_EQ(first.at("g"), 0);
  EXPECT_EQ(first.at("t").as_array().size(), 500U);
  EXPECT_EQ(first.at("w"), (boost::json::array{0, 250, 1, 250}));
  EXPECT_EQ(data.at("lanes").at(1).at("g"), 2);
  EXPECT_EQ(data.at("lanes").at(99).at("g"), 3);
}

TEST(Report, ALongRunIsDrawnInPart) {
  const auto many = boost::json::parse(data_of(render_report(a_run(2'000, 2))));
  EXPECT_EQ(many.at("lanes").as_array().size(), kLanesMax);
  EXPECT_EQ(many.at("streams"), 2'000);
  const auto dense = boost::json::parse(data_of(render_report(a_run(50, 10'000))));
  EXPECT_EQ(dense.at("lanes").as_array().size(), kTicksMax / 10'000);
}

TEST(Report, FiguresAreShort) {
  EXPECT_EQ(figure(1234567), "1,234,567");
  EXPECT_EQ(figure(-1234.5), "-1,234");
  EXPECT_EQ(figure(0.12345), "0.123");
  EXPECT_EQ(figure(34.06), "34.1");
  EXPECT_EQ(figure(0), "0");
  EXPECT_EQ(duration_text(999), "999 ms");
  EXPECT_EQ(duration_text(2310), "2.31 s");
}

TEST(WriteReports, MakesAPageAScenarioAndAnIndex) {
  namespace fs = std::filesystem;
  const fs::path folder =
      fs::temp_directory_path() / ("hf_report_test_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  EXPECT_NE(write_reports(folder).error().detail.find("no result file"), std::string::npos);
  std::ofstream(folder / "worker_kill.json") << to_json(a_run(2, 2));
  std::ofstream(folder / "other.json") << to_json(a_run(1, 1));
  const auto results = write_reports(folder);
  ASSERT_TRUE(results) << results.error().detail;
  ASSERT_EQ(results->size(), 2U);
  EXPECT_EQ(results->front().scenario, "other");
  for (const char* name : {"worker_kill.html", "other.html", "index.html"}) {
    EXPECT_TRUE(fs::file_size(folder / name) > 1'000) << name;
  }
  std::ofstream(folder / "wrong.json") << "[]";
  EXPECT_NE(write_reports(folder).error().detail.find("wrong.json"), std::string::npos);
  fs::remove_all(folder);
  EXPECT_EQ(write_reports(folder).error().code, Code::kNotFound);
}

}  // namespace
}  // namespace hf::chaos
