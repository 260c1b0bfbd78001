#include "routing/policy.hpp"

#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <set>
#include <vector>

namespace hf::routing {
namespace {

using core::FleetView;
using core::PickRequest;
using core::WorkerState;

class Fleet {
 public:
  explicit Fleet(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      core::WorkerStatus worker;
      worker.index = i;
      worker.state = WorkerState::kReady;
      worker.models = {{"m", 100}};
      worker.tokens_identity = 1;
      worker.exact_identity = 10;
      worker.cells = std::make_shared<core::WorkerCells>();
      view.workers.push_back(std::move(worker));
    }
    request.model = "m";
  }
  std::optional<std::size_t> pick() { return router->pick(view, request); }
  std::set<std::size_t> picks(int times = 60) {
    std::set<std::size_t> seen;
    for (int i = 0; i < times; ++i) {
      if (const auto chosen = pick()) seen.insert(*chosen);
    }
    return seen;
  }
  void use(std::string_view policy, PolicyOptions options = {}) {
    router = std::move(*make_policy(policy, std::move(options)));
  }
  core::WorkerCells& cells(std::size_t index) { return *view.workers[index].cells; }

  FleetView view;
  PickRequest request;
  std::unique_ptr<core::Router> router = std::move(*make_policy("least-loaded", {}));
};

using Set = std::set<std::size_t>;
constexpr const char* kPolicies[] = {"least-loaded", "round-robin", "p2c", "random", "session"};

TEST(Policy, AnUnknownNameListsTheOthers) {
  const auto policy = make_policy("best", {});
  ASSERT_FALSE(policy.has_value());
  EXPECT_NE(policy.error().detail.find("least-loaded"), std::string::npos);
  EXPECT_NE(policy.error().detail.find("round-robin"), std::string::npos);
}

TEST(Policy, OnlyReadyWorkersThatServeTheModel) {
  for (const auto* name : kPolicies) {
    Fleet fleet(6);
    fleet.use(name);
    fleet.view.workers[0].state = WorkerState::kStarting;
    fleet.view.workers[1].state = WorkerState::kSuspect;
    fleet.view.workers[2].state = WorkerState::kEjected;
    fleet.view.workers[3].state = WorkerState::kDead;
    fleet.view.workers[4].models = {{"other", 100}};
    EXPECT_EQ(fleet.picks(), (Set{5})) << name;
    fleet.view.workers[5].state = WorkerState::kDead;
    EXPECT_EQ(fleet.pick(), std::nullopt) << name;
  }
}

TEST(Policy, AWorkerThatFailedTheRequestComesLast) {
  Fleet fleet(3);
  const std::vector<std::size_t> failed = {0, 1};
  fleet.request.exclude = failed;
  EXPECT_EQ(fleet.picks(), (Set{2}));
  fleet.view.workers[2].state = WorkerState::kDead;
  EXPECT_EQ(fleet.picks(), (Set{0}));  // not the one that failed it just now
  fleet.view.workers[0].state = WorkerState::kDead;
  EXPECT_EQ(fleet.picks(), (Set{1}));  // unless nobody else is there
}

TEST(Policy, NeverMeansNever) {
  Fleet fleet(2);
  const std::vector<std::size_t> never = {0};
  fleet.request.never = never;
  EXPECT_EQ(fleet.picks(), (Set{1}));
  fleet.view.workers[1].state = WorkerState::kDead;
  EXPECT_EQ(fleet.pick(), std::nullopt);
}

TEST(Policy, IdsGoOnlyWhereTheyMeanTheSame) {
  Fleet fleet(3);
  fleet.view.workers[0].tokens_identity = 2;
  fleet.request.tokens_identity = 1;
  EXPECT_EQ(fleet.picks(), (Set{1, 2}));
}

TEST(Policy, TheSameBuildIsPreferredAndRequiredWhenStrict) {
  Fleet fleet(3);
  fleet.view.workers[0].exact_identity = 11;
  fleet.view.workers[1].exact_identity = 11;
  fleet.request.exact_identity = 10;
  EXPECT_EQ(fleet.picks(), (Set{2}));
  fleet.view.workers[2].state = WorkerState::kDead;
  EXPECT_EQ(fleet.picks(), (Set{0, 1}));
  fleet.request.strict_identity = true;
  EXPECT_EQ(fleet.pick(), std::nullopt);
}

TEST(Policy, AnAdapterFromElsewhereIsAnotherBuild) {
  Fleet fleet(3);
  for (auto& worker : fleet.view.workers) worker.models.push_back({"pirate", 100, 7});
  fleet.view.workers[1].models.back().adapter = 8;
  fleet.request.exact_identity = fleet.view.workers[0].exact_for("pirate");
  fleet.request.model = "pirate";
  EXPECT_EQ(fleet.picks(), (Set{0, 2}));
}

TEST(Policy, AnotherBuildGoesBeforeAWorkerThatFailedTheRequest) {
  Fleet fleet(2);
  fleet.view.workers[1].exact_identity = 11;
  fleet.request.exact_identity = 10;
  const std::vector<std::size_t> failed = {0};
  fleet.request.exclude = failed;
  EXPECT_EQ(fleet.picks(), (Set{1}));
  fleet.request.strict_identity = true;
  EXPECT_EQ(fleet.picks(), (Set{0}));
}

TEST(Policy, ContinuationsArePacedByPrefill) {
  Fleet fleet(2);
  fleet.use("least-loaded", {.resume_prefill_tokens_max = 1'000, .seed = 1});
  fleet.request.continuation = true;
  fleet.request.prefill_tokens = 600;
  fleet.cells(0).resume_prefill = 500;
  EXPECT_EQ(fleet.picks(), (Set{1}));
  fleet.cells(1).resume_prefill = 401;
  EXPECT_EQ(fleet.pick(), std::nullopt);
  fleet.cells(1).resume_prefill = 0;
  fleet.request.prefill_tokens = 5'000;  // larger than the bound: alone it goes
  EXPECT_EQ(fleet.picks(), (Set{1}));
  fleet.request.continuation = false;  // new requests are not paced
  EXPECT_EQ(fleet.picks(), (Set{0, 1}));
}

TEST(Policy, OnePoisonSuspectAWorker) {
  Fleet fleet(2);
  fleet.request.suspect = true;
  fleet.cells(0).suspects = 1;
  EXPECT_EQ(fleet.picks(), (Set{1}));
  fleet.cells(1).suspects = 1;
  EXPECT_EQ(fleet.pick(), std::nullopt);
  fleet.request.suspect = false;
  EXPECT_EQ(fleet.picks(), (Set{0, 1}));
}

TEST(LeastLoaded, TakesTheLeastLoadedAndBreaksTiesAtRandom) {
  Fleet fleet(3);
  fleet.cells(0).running = 2;
  fleet.cells(1).running = 1;
  fleet.cells(2).running = 1;
  std::map<std::size_t, int> times;
  for (int i = 0; i < 400; ++i) ++times[*fleet.pick()];
  EXPECT_EQ(times[0], 0);
  EXPECT_GT(times[1], 120);
  EXPECT_GT(times[2], 120);
}

TEST(LeastLoaded, ALongPromptWeighsMoreThanAShortOne) {
  Fleet fleet(2);
  fleet.cells(0).running = 1;
  fleet.cells(0).prefill_owed = 8'000;
  fleet.cells(1).running = 4;
  EXPECT_EQ(fleet.picks(), (Set{1}));
}

TEST(RoundRobin, TakesEachInTurn) {
  Fleet fleet(3);
  fleet.use("round-robin");
  std::map<std::size_t, int> times;
  std::size_t last = 99;
  for (int i = 0; i < 30; ++i) {
    const auto chosen = *fleet.pick();
    EXPECT_NE(chosen, last);
    last = chosen;
    ++times[chosen];
  }
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(times[i], 10);
}

TEST(RandomPolicy, TakesAllAlike) {
  Fleet fleet(3);
  fleet.use("random");
  fleet.cells(0).running = 50;
  std::map<std::size_t, int> times;
  for (int i = 0; i < 600; ++i) ++times[*fleet.pick()];
  for (std::size_t i = 0; i < 3; ++i) EXPECT_GT(times[i], 120);
}

TEST(PowerOfTwo, NeverTakesTheMostLoadedOfThree) {
  Fleet fleet(3);
  fleet.use("p2c");
  fleet.cells(0).running = 9;
  fleet.cells(1).running = 5;
  std::map<std::size_t, int> times;
  for (int i = 0; i < 600; ++i) ++times[*fleet.pick()];
  EXPECT_EQ(times[0], 0);    // it loses against both others
  EXPECT_GT(times[1], 120);  // a third of the draws has not got worker 2
  EXPECT_GT(times[2], 300);
}

TEST(PowerOfTwo, TakesTheOnlyOne) {
  Fleet fleet(1);
  fleet.use("p2c");
  EXPECT_EQ(fleet.picks(), (Set{0}));
}

TEST(Policy, ASlowWorkerOnlyWhereNoOtherCan) {
  for (const auto* name : kPolicies) {
    Fleet fleet(3);
    fleet.use(name);
    fleet.view.workers[0].state = WorkerState::kSlow;
    EXPECT_EQ(fleet.picks(), (Set{1, 2})) << name;
    const std::vector<std::size_t> failed = {1};
    fleet.request.exclude = failed;
    EXPECT_EQ(fleet.picks(), (Set{2})) << name;
    fleet.view.workers[2].state = WorkerState::kDead;
    EXPECT_EQ(fleet.picks(), (Set{0})) << name;  // rather slow than the one that just failed
    fleet.view.workers[1].state = WorkerState::kDead;
    EXPECT_EQ(fleet.picks(), (Set{0})) << name;
  }
}

TEST(Policy, APromptGoesOnlyWhereItFitsIfItFitsAnywhere) {
  for (const auto* name : kPolicies) {
    Fleet fleet(3);
    fleet.use(name);
    fleet.view.workers[2].models = {{"m", 1'000}};
    fleet.request.length_min = 99;
    EXPECT_GE(fleet.picks(200).size(), name == std::string_view("session") ? 1U : 3U) << name;
    fleet.request.length_min = 100;
    EXPECT_EQ(fleet.picks(), (Set{2})) << name;
    fleet.view.workers[2].state = WorkerState::kDead;  // it is waited for: the others say 400
    EXPECT_EQ(fleet.picks(), Set{}) << name;
    fleet.view.workers[1].models = {{"m", 0}};  // unknown: it may fit
    EXPECT_EQ(fleet.picks(), (Set{1})) << name;
    fleet.request.length_min = 5'000;
    fleet.view.workers[1].models = {{"m", 100}};
    EXPECT_FALSE(fleet.picks().empty()) << name;  // fits nowhere: the engine's own 400 answers
  }
}

}  // namespace
}  // namespace hf::routing
