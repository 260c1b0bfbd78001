#include "frontend/shared_sessions.hpp"

#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/hash.hpp"
#include "routing/policy.hpp"

namespace hf::frontend {
namespace {

TEST(SharedSessions, CoresThatPlaceTheSameSessionsAtOnceAgree) {
  core::FleetView view;
  for (std::size_t i = 0; i < 10; ++i) {
    core::WorkerStatus worker;
    worker.index = i;
    worker.name = "10.0.0." + std::to_string(i) + ":8000";
    worker.state = core::WorkerState::kReady;
    worker.models = {{"m", 100}};
    worker.cells = std::make_shared<core::WorkerCells>();
    view.workers.push_back(std::move(worker));
  }
  const auto sessions = std::make_shared<SharedSessions>();
  std::vector<std::map<std::uint64_t, std::size_t>> seen(2);
  std::vector<std::thread> threads;
  threads.reserve(seen.size());
  for (std::size_t core = 0; core < 2; ++core) {
    threads.emplace_back([&, core] {
      routing::PolicyOptions options;
      options.seed = core;
      options.sessions = sessions;
      const auto router = std::move(*routing::make_policy("session", options));
      for (std::uint64_t i = 0; i < 2'000; ++i) {
        core::PickRequest request;
        request.model = "m";
        request.session = mix64(i);
        request.now = Instant{} + std::chrono::hours(1);
        seen[core][i] = *router->pick(view, request);
        // Loads change under the other one's feet: the bound alone would make them disagree.
        view.workers[seen[core][i]].cells->running.fetch_add(1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(seen[0], seen[1]);
}

}  // namespace
}  // namespace hf::frontend
