#include "frontend/system_server.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace hf::frontend {
namespace {

using core::WorkerState;

struct Pages {
  explicit Pages(const std::vector<std::pair<WorkerState, bool>>& workers) {
    auto snapshot = std::make_shared<FleetSnapshot>();
    for (const auto& [worker_state, known] : workers) {
      core::WorkerStatus worker;
      worker.index = snapshot->view.workers.size();
      worker.name = "w" + std::to_string(worker.index);
      worker.state = worker_state;
      if (known) worker.models.push_back({"m", 4096});
      snapshot->view.workers.push_back(std::move(worker));
    }
    state.fleet = [snapshot] { return snapshot; };
    state.requests = [] { return std::size_t{3}; };
    state.metrics = [] { return std::string("a_metric 1\n"); };
  }
  http::Response get(std::string path, std::string method = "GET") {
    http::Request request;
    request.method = std::move(method);
    request.path = std::move(path);
    return system_page(state, request);
  }
  SystemState state;
};

TEST(SystemServer, IsLiveWhateverTheEnginesDo) {
  EXPECT_EQ(Pages({{WorkerState::kDead, false}}).get("/live").status, 200);
}

TEST(SystemServer, IsNotReadyBeforeAnEngineIsKnown) {
  EXPECT_EQ(Pages({{WorkerState::kStarting, false}}).get("/ready").status, 503);
  EXPECT_EQ(Pages({{WorkerState::kReady, true}}).get("/ready").status, 200);
  // Known once and dead now: requests wait or are shed, but this replica is as good as any other.
  EXPECT_EQ(Pages({{WorkerState::kDead, true}}).get("/ready").status, 200);
}

TEST(SystemServer, DrainingIsNotReady) {
  Pages pages({{WorkerState::kReady, true}});
  pages.state.draining.store(true);
  EXPECT_EQ(pages.get("/ready").status, 503);
  EXPECT_EQ(pages.get("/health").status, 503);
  EXPECT_EQ(pages.get("/live").status, 200);
}

TEST(SystemServer, HealthNamesModelsWorkersAndWarnings) {
  Pages pages({{WorkerState::kReady, true}, {WorkerState::kDead, true}});
  const auto response = pages.get("/health");
  EXPECT_EQ(response.status, 200);
  const auto body = boost::json::parse(response.body).as_object();
  EXPECT_EQ(body.at("status").as_string(), "ok");
  EXPECT_EQ(body.at("models").as_object().at("m").as_int64(), 1);
  EXPECT_EQ(body.at("workers").as_object().at("dead").as_int64(), 1);
  EXPECT_EQ(body.at("requests_running").as_int64(), 3);
  const auto& warnings = body.at("warnings").as_array();
  ASSERT_EQ(warnings.size(), 2U);
  EXPECT_EQ(warnings[0].as_object().at("code").as_string(), "insufficient_replicas");
  EXPECT_EQ(warnings[1].as_object().at("code").as_string(), "worker_unreachable");
}

TEST(SystemServer, HealthIs503WithoutAnyWorker) {
  const auto response = Pages({{WorkerState::kDead, true}}).get("/health");
  EXPECT_EQ(response.status, 503);
  EXPECT_NE(response.body.find("no_worker"), std::string::npos);
}

TEST(SystemServer, ServesMetricsAndRefusesTheRest) {
  Pages pages({{WorkerState::kReady, true}});
  EXPECT_EQ(pages.get("/metrics").body, "a_metric 1\n");
  EXPECT_EQ(pages.get("/nothing").status, 404);
  EXPECT_EQ(pages.get("/metrics", "POST").status, 405);
}

}  // namespace
}  // namespace hf::frontend
