#include "wire/prometheus.hpp"

#include <array>
#include <chrono>
#include <gtest/gtest.h>
#include <limits>
#include <thread>
#include <vector>

namespace hf::wire {
namespace {

using std::chrono::milliseconds;

constexpr std::array kBounds = {0.1, 1.0};

TEST(Prometheus, WritesCountersAndGauges) {
  Registry registry;
  Family<Counter, 2> requests(registry, "requests_total", "All requests.", {"model", "outcome"});
  Family<Gauge, 0> running(registry, "running", "Now.", {});
  requests.with("m", "ok")->add();
  requests.with("m", "ok")->add(2);
  requests.with("a", "error")->add();
  running.with()->add(2);
  running.with()->add(-0.5);
  EXPECT_EQ(registry.render(),
            "# HELP requests_total All requests.\n"
            "# TYPE requests_total counter\n"
            "requests_total{model=\"a\",outcome=\"error\"} 1\n"
            "requests_total{model=\"m\",outcome=\"ok\"} 3\n"
            "# HELP running Now.\n"
            "# TYPE running gauge\n"
            "running 1.5\n");
}

TEST(Prometheus, WritesHistograms) {
  Registry registry;
  Family<Histogram, 1> times(registry, "t_seconds", "T.", {"m"}, kBounds);
  const auto cell = times.with("x");
  cell->observe(milliseconds(100));  // on the bound: inside
  cell->observe(milliseconds(101));
  cell->observe(milliseconds(2000));
  cell->observe(milliseconds(-5));
  EXPECT_EQ(registry.render(),
            "# HELP t_seconds T.\n"
            "# TYPE t_seconds histogram\n"
            "t_seconds_bucket{m=\"x\",le=\"0.1\"} 2\n"
            "t_seconds_bucket{m=\"x\",le=\"1\"} 3\n"
            "t_seconds_bucket{m=\"x\",le=\"+Inf\"} 4\n"
            "t_seconds_sum{m=\"x\"} 2.201\n"
            "t_seconds_count{m=\"x\"} 4\n");
}

TEST(Prometheus, WritesAnEmptyHistogramWithoutLabels) {
  Registry registry;
  Family<Histogram, 0> times(registry, "t", "T", {}, kBounds);
  EXPECT_NE(registry.render().find("t_bucket{le=\"+Inf\"} 0\nt_sum 0\nt_count 0\n"),
            std::string::npos);
}

TEST(Prometheus, EscapesLabelsAndHelp) {
  Registry registry;
  Family<Counter, 1> c(registry, "c_total", "A \"b\" \\ and\nc.", {"l"});
  c.with("q\"b\\n\nz")->add();
  EXPECT_EQ(registry.render(),
            "# HELP c_total A \"b\" \\\\ and\\nc.\n"
            "# TYPE c_total counter\n"
            "c_total{l=\"q\\\"b\\\\n\\nz\"} 1\n");
}

TEST(Prometheus, WritesNumbersThatAreNone) {
  PrometheusWriter out;
  const double infinity = std::numeric_limits<double>::infinity();
  out.sample("a", {}, {}, infinity);
  out.sample("a", {}, {}, -infinity);
  out.sample("a", {}, {}, std::numeric_limits<double>::quiet_NaN());
  out.sample("a", {}, {}, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(out.take(), "a +Inf\na -Inf\na NaN\na 18446744073709551615\n");
}

TEST(Prometheus, ErasesTheSeriesOfAWorker) {
  Registry registry;
  Family<Counter, 2> attempts(registry, "attempts_total", "A.", {"worker", "outcome"});
  Family<Counter, 1> other(registry, "other_total", "O.", {"model"});
  const auto kept = attempts.with("w1", "ok");
  kept->add();
  attempts.with("w2", "w1")->add();
  other.with("w1")->add();
  registry.erase_label("worker", "w1");
  kept->add();  // harmless
  const std::string page = registry.render();
  EXPECT_EQ(page.find("worker=\"w1\""), std::string::npos);
  EXPECT_NE(page.find("attempts_total{worker=\"w2\",outcome=\"w1\"} 1"), std::string::npos);
  EXPECT_NE(page.find("other_total{model=\"w1\"} 1"), std::string::npos);
  EXPECT_EQ(attempts.with("w1", "ok")->value(), 0u);
}

TEST(Prometheus, BoundsTheSeriesOfAFamily) {
  Registry registry;
  Family<Counter, 1> c(registry, "c_total", "C.", {"l"});
  for (std::size_t i = 0; i < kMetricSeriesMax + 10; ++i) c.with(std::to_string(i))->add();
  EXPECT_EQ(c.with("_overflow")->value(), 10u);
  EXPECT_EQ(c.with("0")->value(), 1u);
}

TEST(Prometheus, LeavesThePageWithTheFamily) {
  Registry registry;
  {
    Family<Counter, 0> c(registry, "c_total", "C.", {});
  }
  EXPECT_EQ(registry.render(), "");
}

TEST(Prometheus, CountsFromManyThreadsWhileThePageIsRead) {
  Registry registry;
  Family<Counter, 1> c(registry, "c_total", "C.", {"l"});
  Family<Histogram, 0> h(registry, "h", "H.", {}, kBounds);
  Family<Gauge, 0> g(registry, "g", "G.", {});
  std::vector<std::thread> threads;
  for (int t = 0; t < 10; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) {
        c.with(t % 2 == 0 ? "even" : "odd")->add();
        h.with()->observe(milliseconds(i));
        g.with()->add(i % 2 == 0 ? 1 : -1);
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(registry.render().empty());
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(c.with("even")->value(), 5000u);
  EXPECT_EQ(c.with("odd")->value(), 5000u);
  EXPECT_EQ(h.with()->snapshot().total, 10'000u);
  EXPECT_EQ(g.with()->value(), 0.0);
}

}  // namespace
}  // namespace hf::wire
