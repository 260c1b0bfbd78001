// Mode text: going on from the text where ids are not known.
#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

// Workers of a kind that tells no ids.
class TextMode : public testing::Test {
 protected:
  TextMode() {
    bench.options.text = true;
    bench.spec.tokens_allowed = {false};
    bench.spec.text_allowed = {true};
    bench.spec.default_max = {0};
    for (auto& worker : bench.view.workers) worker.tokens_identity = worker.exact_identity = 0;
  }
  void three_words() {
    for (const auto* text : {"a", "b", "c"}) bench.token(1, {.ids = {}, .text = text});
  }
  Bench bench;
};

TEST_F(TextMode, GoesOnWithTheLimitRebased) {
  bench.start();
  three_words();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "open 2@1 text abc max 7"}));
  bench.token(2, {.ids = {}, .text = "d"});
  bench.token(2, {.ids = {}, .text = "e", .count = -1, .finish = Finish::kStop});
  bench.event(2, EventKind::kDone);
  EXPECT_EQ(bench.log(),
            (Log{"comment holdfast: text", "say d", "say e", "finish stop", "complete"}));
  EXPECT_EQ(bench.machine().completion_tokens(), 5);
  EXPECT_EQ(bench.machine().record().migrations.at(0).mode, Mode::kText);
}

TEST_F(TextMode, TextHeldBackAtTheLimitIsPartOfTheAnswer) {
  bench.add_worker().tokens_identity = 0;
  bench.spec.max_tokens = 4;
  bench.spec.stop = {"de"};
  bench.start();
  three_words();
  bench.failed(1);
  bench.token(2, {.ids = {}, .text = "d"});  // may become the stop string
  bench.log();
  bench.failed(2);
  EXPECT_EQ(bench.log(), (Log{"report 1 reset", "cancel 2", "say d", "finish length", "complete"}));
}

TEST_F(TextMode, IsOptIn) {
  bench.options.text = false;
  bench.start();
  three_words();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

TEST_F(TextMode, BeforeTheFirstTokenItStartsAnew) {
  bench.start();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "open 2@1 restart plain"}));
}

TEST_F(TextMode, ASecondFailureGoesOnFromAllThatWasSent) {
  bench.add_worker().tokens_identity = 0;
  bench.start();
  three_words();
  bench.failed(1);
  bench.token(2, {.ids = {}, .text = "d"});
  bench.log();
  bench.failed(2);
  bench.run(seconds(1));
  EXPECT_EQ(bench.log().back(), "open 3@2 text abcd max 6");
}

TEST_F(TextMode, ARefusedPrefixIsOursAndNotTheClients) {
  bench.add_worker().tokens_identity = 0;
  bench.start();
  three_words();
  bench.failed(1);
  bench.log();
  bench.machine().on_status(bench.now, 2, 400, {});
  EXPECT_EQ(bench.log(), (Log{"report 1 refused", "cancel 2", "open 3@2 text abc max 7"}));
  bench.machine().on_status(bench.now, 3, 422, {});
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

TEST_F(TextMode, IsNotForWhatIsNoPlainText) {
  bench.start();
  bench.token(1, {.ids = {}, .text = "a", .count = -1, .plain = false});
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

TEST_F(TextMode, AnAnswerThatThinksAnewIsNotShown) {
  bench.start();
  three_words();
  bench.failed(1);
  bench.token(2, {.ids = {}, .text = "", .count = -1, .plain = false});
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

TEST_F(TextMode, NothingIsAskedForWithNothingLeft) {
  bench.spec.max_tokens = 3;
  bench.start();
  three_words();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "finish length", "complete"}));
}

TEST_F(TextMode, OnlyAWorkerThatCanContinueTextGetsIt) {
  bench.spec.text_allowed = {true, false};
  bench.view.workers[1].kind = 1;
  auto& third = bench.add_worker();
  third.tokens_identity = 0;
  bench.start();
  three_words();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@2 text abc max 7");
}

TEST_F(TextMode, FollowsTokensWhereNobodyHasTheSameIds) {
  bench.spec.tokens_allowed = {true};
  bench.view.workers[0].tokens_identity = 7;
  bench.start();
  bench.three_tokens();
  bench.set_state(0, WorkerState::kDead);
  EXPECT_EQ(bench.log().back(), "open 2@1 text abc max 7");
}

}  // namespace
}  // namespace hf::core
