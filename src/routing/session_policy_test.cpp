#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "routing/policy.hpp"

namespace hf::routing {
namespace {

using core::WorkerState;
using Places = std::map<std::uint64_t, std::size_t>;

constexpr std::uint64_t kSessions = 10'000;

std::uint64_t user(std::uint64_t number) {
  return hash_bytes("user-" + std::to_string(number));
}

/// Ten workers, two cores that share the table.
class Cluster {
 public:
  explicit Cluster(std::size_t workers = 10, std::size_t sessions_max = 100'000)
      : table(std::make_shared<SessionTable>(sessions_max)) {
    for (std::size_t i = 0; i < workers; ++i) {
      core::WorkerStatus worker;
      worker.index = i;
      worker.name = "10.0.0." + std::to_string(i) + ":8000";
      worker.state = WorkerState::kReady;
      worker.models = {{"m", 100}};
      worker.cells = std::make_shared<core::WorkerCells>();
      view.workers.push_back(std::move(worker));
    }
    for (const std::uint64_t seed : {1U, 2U}) {
      cores.push_back(std::move(*make_policy(
          "session", {.resume_prefill_tokens_max = 65'536, .seed = seed, .sessions = table})));
    }
  }
  std::size_t place(std::uint64_t session, const std::vector<std::size_t>& failed = {}) {
    core::PickRequest request;
    request.model = "m";
    request.session = session;
    request.now = now;
    request.exclude = failed;
    return *cores[next_core++ % cores.size()]->pick(view, request);
  }
  Places place_all() {
    Places places;
    for (std::uint64_t i = 0; i < kSessions; ++i) places[i] = place(user(i));
    return places;
  }
  void set_state(std::size_t worker, WorkerState state) { view.workers[worker].state = state; }

  core::FleetView view;
  std::shared_ptr<SessionTable> table;
  std::vector<std::unique_ptr<core::Router>> cores;
  std::size_t next_core = 0;
  Instant now = Instant{} + std::chrono::hours(1);
};

std::vector<std::size_t> counts(const Places& places, std::size_t workers) {
  std::vector<std::size_t> counted(workers);
  for (const auto& [session, worker] : places) ++counted[worker];
  return counted;
}

TEST(Session, TenThousandOnTenWorkersOneKilledOneBack) {
  Cluster cluster;
  const auto before = cluster.place_all();
  const auto spread = counts(before, 10);
  EXPECT_LE(*std::ranges::max_element(spread), kSessions / 10 * 5 / 4);
  EXPECT_EQ(cluster.place_all(), before);  // and the other core agrees

  cluster.set_state(3, WorkerState::kDead);
  const auto after = cluster.place_all();
  std::size_t moved = 0;
  for (const auto& [session, worker] : after) {
    if (before.at(session) == 3) {
      EXPECT_NE(worker, 3U);
      ++moved;
    } else {
      EXPECT_EQ(worker, before.at(session)) << "moved without need";
    }
  }
  EXPECT_EQ(moved, spread[3]);
  const auto spread_after = counts(after, 10);
  EXPECT_LE(*std::ranges::max_element(spread_after), kSessions / 9 * 5 / 4);

  cluster.set_state(3, WorkerState::kReady);
  EXPECT_EQ(cluster.place_all(), after);  // no active one moves back
  cluster.now += std::chrono::minutes(11);
  EXPECT_EQ(cluster.place_all(), before);  // idle ones are placed anew, where they belong
}

TEST(Session, NamesAreHashedNotPositions) {
  Cluster cluster;
  const auto before = cluster.place_all();
  Cluster turned;
  std::ranges::reverse(turned.view.workers);
  for (std::size_t i = 0; i < 10; ++i) turned.view.workers[i].index = i;
  for (const auto& [session, worker] : turned.place_all())
    EXPECT_EQ(worker, 9 - before.at(session));
}

TEST(Session, ABusyWorkerGetsNoNewSessionsAndKeepsThoseItHas) {
  Cluster cluster(4);
  const auto session = user(1);
  const auto home = cluster.place(session);
  // 1.25 × mean: with 40 running in all, none may have more than 13.
  for (std::size_t i = 0; i < 4; ++i) cluster.view.workers[i].cells->running = i == home ? 13 : 9;
  for (std::uint64_t i = 100; i < 300; ++i) EXPECT_NE(cluster.place(user(i)), home);
  EXPECT_EQ(cluster.place(session), home);
}

TEST(Session, WithoutAKeyTheLeastLoadedIsTaken) {
  Cluster cluster(3);
  cluster.view.workers[0].cells->running = 2;
  cluster.view.workers[1].cells->running = 2;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(cluster.place(0), 2U);
  EXPECT_EQ(cluster.table->size(), 0U);
}

TEST(Session, GoesAroundAWorkerThatCannotTakeThisRequestAndComesBack) {
  Cluster cluster(4);
  const auto session = user(5);
  const auto home = cluster.place(session);
  const auto away = cluster.place(session, {home});  // it failed this request
  EXPECT_NE(away, home);
  EXPECT_EQ(cluster.place(session), home);
  for (const auto state : {WorkerState::kSuspect, WorkerState::kEjected, WorkerState::kSlow}) {
    cluster.set_state(home, state);
    const auto around = cluster.place(session);
    EXPECT_NE(around, home);
    EXPECT_EQ(cluster.place(session), around);  // and always the same one
    cluster.set_state(home, WorkerState::kReady);
    EXPECT_EQ(cluster.place(session), home);
  }
}

TEST(Session, StaysWhereItsBrokenRequestWentWhenItsWorkerIsFoundDead) {
  Cluster cluster(4);
  const auto session = user(9999);
  const auto home = cluster.place(session);
  const auto away = cluster.place(session, {home});
  cluster.set_state(home, WorkerState::kDead);
  EXPECT_EQ(cluster.place(session), away);
  cluster.set_state(home, WorkerState::kReady);
  EXPECT_EQ(cluster.place(session), away);
}

TEST(Session, LeavesAWorkerThatNoLongerServesItsModel) {
  Cluster cluster(3);
  const auto session = user(5);
  const auto home = cluster.place(session);
  cluster.view.workers[home].models = {{"other", 100}};
  const auto next = cluster.place(session);
  EXPECT_NE(next, home);
  cluster.view.workers[home].models = {{"m", 100}};
  EXPECT_EQ(cluster.place(session), next);
}

TEST(Session, TheTableIsBoundedAndTheLongestUnusedGoesFirst) {
  Cluster cluster(10, 256);
  const auto session = user(1);
  cluster.set_state(0, WorkerState::kDead);
  for (std::uint64_t i = 0; i < 5'000; ++i) {
    cluster.place(user(i + 10));
    cluster.place(session);
  }
  EXPECT_LE(cluster.table->size(), 256U);
  EXPECT_GE(cluster.table->size(), 256U);
}

}  // namespace
}  // namespace hf::routing
