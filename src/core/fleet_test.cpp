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
