#include "telemetry/metrics.hpp"

#include <chrono>
#include <gtest/gtest.h>
#include <string>

namespace hf::telemetry {
namespace {

bool has(const std::string& page, std::string_view line) {
  return page.find(line) != std::string::npos;
}

TEST(ServeMetrics, HasEveryFamilyOfTheContract) {
  Registry registry;
  const ServeMetrics metrics(registry, "1.2", "abc");
  const std::string page = registry.render();
  for (const char* family :
       {"requests_total counter", "requests_running gauge", "requests_queued gauge",
        "time_to_first_token_seconds histogram", "inter_token_seconds histogram",
        "request_seconds histogram", "tokens_total counter", "attempts_total counter",
        "migrations_total counter", "resume_gap_seconds histogram", "wasted_tokens_total counter",
        "hedges_total counter", "retry_budget_exhausted_total counter",
        "cancellations_total counter", "shed_total counter", "worker_state gauge",
        "ejections_total counter", "build_info gauge"}) {
    EXPECT_TRUE(has(page, std::string("# TYPE holdfast_") + family + "\n")) << family;
  }
  EXPECT_TRUE(has(page, "holdfast_build_info{version=\"1.2\",commit=\"abc\"} 1\n"));
}

TEST(ServeMetrics, LabelsAreTheContracts) {
  Registry registry;
  ServeMetrics metrics(registry, "1", "c");
  metrics.requests_total.with("m", "/v1/completions", "ok")->add();
  metrics.migrations_total.with(kUnknownModel, "tokens", "reset", "ok")->add();
  metrics.attempts_total.with("w", "complete")->add(3);
  metrics.inter_token_seconds.with()->observe(std::chrono::milliseconds(7));
  const std::string page = registry.render();
  EXPECT_TRUE(
      has(page,
          "holdfast_requests_total{model=\"m\",endpoint=\"/v1/completions\",outcome=\"ok\"} "
          "1\n"));
  EXPECT_TRUE(has(page,
                  "holdfast_migrations_total{model=\"_unknown\",mode=\"tokens\",reason=\"reset\","
                  "outcome=\"ok\"} 1\n"));
  EXPECT_TRUE(has(page, "holdfast_attempts_total{worker=\"w\",outcome=\"complete\"} 3\n"));
  EXPECT_TRUE(has(page, "holdfast_inter_token_seconds_bucket{le=\"0.005\"} 0\n"));
  EXPECT_TRUE(has(page, "holdfast_inter_token_seconds_bucket{le=\"0.01\"} 1\n"));
}

TEST(ServeMetrics, AWorkerHasOneState) {
  Registry registry;
  ServeMetrics metrics(registry, "1", "c");
  metrics.set_worker_state("w", "ready");
  metrics.set_worker_state("v", "ready");
  metrics.set_worker_state("w", "ejected");
  const std::string page = registry.render();
  EXPECT_TRUE(has(page, "holdfast_worker_state{worker=\"w\",state=\"ejected\"} 1\n"));
  EXPECT_TRUE(has(page, "holdfast_worker_state{worker=\"v\",state=\"ready\"} 1\n"));
  EXPECT_FALSE(has(page, "worker=\"w\",state=\"ready\""));
}

TEST(ServeMetrics, ForgetsAWorkerEverywhere) {
  Registry registry;
  ServeMetrics metrics(registry, "1", "c");
  metrics.set_worker_state("w", "dead");
  metrics.attempts_total.with("w", "reset")->add();
  metrics.ejections_total.with("w", "refused")->add();
  metrics.ejections_total.with("v", "refused")->add();
  metrics.forget_worker("w");
  const std::string page = registry.render();
  EXPECT_FALSE(has(page, "worker=\"w\""));
  EXPECT_TRUE(has(page, "worker=\"v\""));
}

}  // namespace
}  // namespace hf::telemetry
