#include "core/fleet.hpp"

#include <gtest/gtest.h>

namespace hf::core {
namespace {

FleetView two_workers() {
  FleetView view;
  view.workers.resize(2);
  view.workers[0].models = {{"a", 100}, {"b", 200}};
  return view;
}

TEST(Fleet, KnowsTheModelsOfEachWorker) {
  const auto view = two_workers();
  ASSERT_NE(view.workers[0].model("b"), nullptr);
  EXPECT_EQ(view.workers[0].model("b")->max_len, 200);
  EXPECT_EQ(view.workers[1].model("b"), nullptr);
  EXPECT_TRUE(view.known_model("a"));
  EXPECT_FALSE(view.known_model("c"));
}

TEST(Fleet, AnAdapterHasAnIdentityOfItsOwn) {
  auto view = two_workers();
  view.workers[0].models = {{"base", 100}, {"pirate", 100, 7}, {"pirate-2", 100, 8}};
  view.workers[1].models = {{"base", 100}, {"pirate", 100, 9}};
  for (auto& worker : view.workers) worker.exact_identity = 10;
  const auto& worker = view.workers[0];
  EXPECT_EQ(worker.exact_for("base"), 10U);
  EXPECT_NE(worker.exact_for("pirate"), 10U);
  EXPECT_NE(worker.exact_for("pirate"), worker.exact_for("pirate-2"));
  EXPECT_NE(worker.exact_for("pirate"), view.workers[1].exact_for("pirate"));
  view.workers[0].exact_identity = 0;  // unknown stays unknown
  EXPECT_EQ(worker.exact_for("pirate"), 0U);
}

TEST(Fleet, IsStartingWhileAWorkerWasNeverIdentified) {
  auto view = two_workers();
  EXPECT_TRUE(view.starting());
  view.workers[1].models = {{"a", 100}};
  EXPECT_FALSE(view.starting());
  view.workers[1].state = WorkerState::kDead;  // its models may come back: known, not starting
  EXPECT_FALSE(view.starting());
}

TEST(Fleet, NamesItsStates) {
  EXPECT_EQ(to_string(WorkerState::kSuspect), "suspect");
  EXPECT_EQ(to_string(WorkerState::kEjected), "ejected");
  EXPECT_EQ(to_string(Mode::kTokens), "tokens");
  EXPECT_EQ(to_string(Reason::kInBandError), "in_band_error");
  EXPECT_EQ(to_string(Finish::kLength), "length");
}

}  // namespace
}  // namespace hf::core
