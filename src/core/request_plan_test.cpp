// Going on by ids: what is asked, what is carried, what the client sees.
#include "core/request_test_support.hpp"

namespace hf::core {
namespace {

TEST(Resume, GoesOnByIdsWithTheLimitsRebased) {
  Bench bench;
  bench.spec.include_usage = true;
  bench.spec.min_tokens = 5;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(),
            (Log{"report 0 reset", "cancel 1", "open 2@1 tokens carry 21 22 23 max 7 min 2"}));
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .prompt = 6});
  bench.token(2, {.ids = {25}, .text = "e", .count = 2, .finish = Finish::kLength, .prompt = 6});
  bench.event(2, EventKind::kDone);
  EXPECT_EQ(bench.log(), (Log{"say d", "say e", "finish length", "usage 3+5", "complete"}));
  EXPECT_TRUE(bench.machine().is_rebuilt());
  const auto& migrations = bench.machine().record().migrations;
  ASSERT_EQ(migrations.size(), 1U);
  EXPECT_EQ(migrations[0].mode, Mode::kTokens);
  EXPECT_EQ(migrations[0].reason, Reason::kReset);
  EXPECT_TRUE(migrations[0].ok);
}

TEST(Resume, TakesTheEnginesDefaultWhereTheClientSetNoLimit) {
  Bench bench;
  bench.spec.max_tokens.reset();
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@1 tokens carry 21 22 23 max 13");  // 16 on its endpoint
}

TEST(Resume, IsBoundedByTheLengthOfTheModel) {
  Bench bench;
  bench.spec.max_tokens = 5'000;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@1 tokens carry 21 22 23 max 94");  // 100 - 3 - 3
}

TEST(Resume, BreaksTwiceAndLosesNothing) {
  Bench bench(3);
  bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .prompt = 6});
  bench.log();
  bench.failed(2);
  EXPECT_EQ(bench.log(),
            (Log{"report 1 reset", "cancel 2", "open 3@2 tokens carry 21 22 23 24 max 6"}));
  bench.token(3, {.ids = {25}, .text = "e", .count = 1, .prompt = 7});
  EXPECT_EQ(bench.log(), (Log{"say e"}));
}

TEST(Resume, BreaksAgainBeforeItsFirstToken) {
  Bench bench(3);
  bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.log();
  bench.failed(2, Reason::kConnect);
  EXPECT_EQ(bench.log(),
            (Log{"report 1 connect", "cancel 2", "open 3@2 tokens carry 21 22 23 max 7"}));
}

TEST(Resume, AsksForThePromptsIdsIfTheyNeverCame) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1, .with_prompt_ids = false});
  bench.failed(1);
  bench.log();
  bench.answer_ids(Question::kPromptIds, {11, 12, 13});
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 max 9"}));
  EXPECT_EQ(bench.machine().prompt_ids(), (std::vector<TokenId>{11, 12, 13}));
}

TEST(Resume, RefusesWhenThePromptHasAnotherLengthNow) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1, .with_prompt_ids = false});
  bench.failed(1);
  bench.log();
  bench.answer_ids(Question::kPromptIds, {10, 11, 12, 13});  // its engine had counted 3
  EXPECT_EQ(bench.log(), (Log{"fail 502 upstream_failed"}));
}

TEST(Resume, RefusesWhenThePromptsIdsAndItsCountDisagree) {
  Bench bench;
  bench.spec.prompt_ids = {11, 12};
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});  // prompt_tokens 3
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "fail 502 upstream_failed"}));
}

TEST(Resume, RefusesWhenIdsWereLostOnTheWay) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {}, .text = "b", .count = 3});  // two tokens, no id
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "fail 502 upstream_failed"}));
}

TEST(Resume, RefusesWhenTheReplacementCountsAnotherPrompt) {
  Bench bench;
  bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.log();
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .prompt = 7});  // a BOS crept in
  EXPECT_EQ(bench.log(), (Log{"report 1 refused", "cancel 2", "fail 502 upstream_failed"}));
}

TEST(Resume, SendsHeldBackTextFirst) {
  Bench bench;
  bench.spec.stop = {"xyz"};
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {22}, .text = "", .count = 2});  // " x" is held back
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "ask text 1 21 22");
  bench.answer_text("a bc");
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 22 max 8"}));
  bench.token(2, {.ids = {23}, .text = "d", .count = 1, .prompt = 5});
  EXPECT_EQ(bench.log(), (Log{"say  bc", "say d"}));
}

TEST(Resume, FindsAStopStringAcrossTheBreak) {
  Bench bench;
  bench.spec.stop = {"xyz"};
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {22}, .text = "", .count = 2});
  bench.failed(1);
  bench.answer_text("a bxy");
  bench.log();
  bench.token(2, {.ids = {23}, .text = "zoo", .count = 1, .prompt = 5});
  EXPECT_EQ(bench.log(), (Log{"say  b", "finish stop at xyz", "cancel 2", "complete"}));
}

TEST(Resume, EndsWhenTheStopStringIsInWhatWasHeldBack) {
  Bench bench;
  bench.spec.stop = {"xyz"};
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {22}, .text = "", .count = 2});
  bench.failed(1);
  bench.log();
  bench.answer_text("a bxyz");
  EXPECT_EQ(bench.log(), (Log{"say  b", "finish stop at xyz", "complete"}));
}

TEST(Resume, LeavesStopStringsAmongTheFirstTokensToTheEngine) {
  Bench bench;
  bench.spec.stop = {"xyz"};
  bench.spec.min_tokens = 8;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.failed(1);
  bench.answer_text("a");
  bench.log();
  bench.token(2, {.ids = {23}, .text = "xyz", .count = 1, .prompt = 4});
  EXPECT_EQ(bench.log(), (Log{"say xyz"}));
}

TEST(Resume, RefusesWhenTheTextSentIsNotWhatTheIdsReadAs) {
  Bench bench;
  bench.spec.stop = {"xyz"};
  bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.log();
  bench.answer_text("aXc");
  EXPECT_EQ(bench.log(), (Log{"fail 502 upstream_failed"}));
}

TEST(Resume, DropsIdsThatCompleteNoCharacter) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {31}, .text = "", .count = 2});  // two bytes of four
  bench.token(1, {.ids = {32}, .text = "", .count = 3});
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "ask text 1 21 31 32");
  bench.answer_text("a\xEF\xBF\xBD");
  EXPECT_EQ(bench.log(), (Log{"ask text 1 21 31"}));
  bench.answer_text("a\xEF\xBF\xBD");
  EXPECT_EQ(bench.log(), (Log{"ask text 1 21"}));
  bench.answer_text("a");
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 max 9"}));
  bench.token(2, {.ids = {31}, .text = "", .count = 1, .prompt = 4});
  bench.token(2, {.ids = {32}, .text = "", .count = 2, .prompt = 4});
  bench.token(2, {.ids = {33}, .text = "\xF0\x9F\x98\x80", .count = 3, .prompt = 4});
  EXPECT_EQ(bench.log(), (Log{"say \xF0\x9F\x98\x80"}));
  EXPECT_EQ(bench.machine().ledger().ids(), (std::vector<TokenId>{21, 31, 32, 33}));
}

TEST(Resume, RestartsWhenEveryIdWasHalfACharacter) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {31}, .text = "", .count = 1});
  bench.failed(1);
  bench.log();
  bench.answer_text("\xEF\xBF\xBD");
  EXPECT_EQ(bench.log(), (Log{"open 2@1 restart ids"}));
}

TEST(Resume, EndsAtAnEndOfSequenceThatWasKnown) {
  Bench bench;
  bench.spec.include_usage = true;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {kEos}, .text = "", .count = 2});  // its final event is lost
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "ask text 1 21");  // the end itself is no text
  bench.answer_text("a");
  EXPECT_EQ(bench.log(), (Log{"finish stop", "usage 3+2", "complete"}));
}

TEST(Resume, GoesOnOverAnEndOfSequenceThatIsIgnored) {
  Bench bench;
  bench.spec.ignore_eos = true;
  bench.start();
  bench.token(1, {.ids = {kEos}, .text = "a", .count = 1});
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@1 tokens carry 2 max 9");
}

TEST(Resume, EndsAtAStopIdOfTheClientButNotBeforeMinTokens) {
  for (const std::int64_t min_tokens : {0, 4}) {
    Bench bench;
    bench.spec.stop_token_ids = {22};
    bench.spec.min_tokens = min_tokens;
    bench.start();
    bench.token(1, {.ids = {21}, .text = "a", .count = 1});
    bench.token(1, {.ids = {22}, .text = "b", .count = 2});
    bench.log();
    bench.failed(1);
    EXPECT_EQ(bench.log().back(),
              min_tokens == 0 ? "complete" : "open 2@1 tokens carry 21 22 max 8 min 2");
  }
}

TEST(Resume, EndsAtALimitThatWasReached) {
  Bench bench;
  bench.spec.max_tokens = 3;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "finish length", "complete"}));
}

TEST(Resume, FillsGapsThroughTheTokenizer) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {33}, .text = "\xF0\x9F\x98\x80", .count = 4});  // llama.cpp: 31 32 untold
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "ask fill 1");
  bench.answer_ids(Question::kFillGaps, {21, 31, 32, 33});
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 31 32 33 max 6"}));
}

TEST(Resume, RefusesAFillThatContradictsAKnownId) {
  Bench bench;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {33}, .text = "\xF0\x9F\x98\x80", .count = 4});
  bench.failed(1);
  bench.log();
  bench.answer_ids(Question::kFillGaps, {21, 31, 32, 34});
  EXPECT_EQ(bench.log(), (Log{"fail 502 upstream_failed"}));
}

TEST(Resume, AGreedyAnswerIsWrittenAgainFromWhereItsIdsAreCertain) {
  Bench bench(3);
  bench.spec.greedy = true;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {33}, .text = "\xF0\x9F\x98\x80!", .count = 4});
  bench.failed(1);
  bench.log();
  bench.no_answer(Question::kFillGaps, true);
  EXPECT_EQ(bench.log(), (Log{"ask text 1 21"}));
  bench.answer_text("a");
  EXPECT_EQ(bench.log(), (Log{"open 2@1 tokens carry 21 max 9"}));
  // A failure in between: the text sent is still ahead of the ids.
  bench.failed(2);
  bench.run(seconds(1));
  EXPECT_EQ(bench.log(), (Log{"report 1 reset", "cancel 2", "ask text 2 21"}));
  bench.answer_text("a");
  bench.log();
  bench.token(3, {.ids = {31}, .text = "\xF0\x9F\x98\x80", .count = 1, .prompt = 4});
  EXPECT_EQ(bench.log(), Log{});  // the client has it
  bench.token(3, {.ids = {34}, .text = "!b", .count = 2, .prompt = 4});
  EXPECT_EQ(bench.log(), (Log{"say b"}));
}

TEST(Resume, AnAnswerWrittenAgainMustBeTheSame) {
  Bench bench;
  bench.spec.greedy = true;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "a", .count = 1});
  bench.token(1, {.ids = {33}, .text = "\xF0\x9F\x98\x80", .count = 4});
  bench.failed(1);
  bench.no_answer(Question::kFillGaps, true);
  bench.answer_text("a");
  bench.log();
  bench.token(2, {.ids = {35}, .text = "b", .count = 1, .prompt = 4});
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

TEST(Resume, AsksAnotherWorkerWhenTheFirstIsGoneInTheMiddleOfAQuestion) {
  Bench bench(3);
  bench.spec.stop = {"zz"};
  bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.log();
  bench.no_answer(Question::kText, false);
  EXPECT_EQ(bench.log(), (Log{"report 1 reset"}));  // another failure is not free: it backs off
  bench.run(seconds(1));
  EXPECT_EQ(bench.log(), (Log{"ask text 2 21 22 23"}));
}

TEST(Resume, IgnoresAnswersToOlderQuestions) {
  Bench bench(3);
  bench.spec.stop = {"zz"};
  bench.start();
  bench.three_tokens();
  bench.failed(1);
  const auto old = bench.actions.plan;
  bench.set_state(1, WorkerState::kEjected);
  bench.log();
  bench.machine().on_answer(bench.now, Question::kText, old, {}, "abc");
  EXPECT_EQ(bench.log(), Log{});
  bench.answer_text("abc");
  EXPECT_EQ(bench.log(), (Log{"open 2@2 tokens carry 21 22 23 max 7"}));
}

TEST(Resume, LeavesAWorkerThatIsEjectedWhileItIsBeingAsked) {
  Bench bench(3);
  bench.spec.stop = {"zz"};
  bench.start();
  bench.three_tokens();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "ask text 1 21 22 23");
  bench.set_state(1, WorkerState::kEjected);
  EXPECT_EQ(bench.log(), (Log{"ask text 2 21 22 23"}));
}

TEST(Resume, TriesAnotherWorkerWhenOneRefusesThePrefixThenGivesUp) {
  Bench bench(4);
  auto& machine = bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.log();
  machine.on_status(bench.now, 2, 400, {});
  EXPECT_EQ(bench.log(),
            (Log{"report 1 refused", "cancel 2", "open 3@2 tokens carry 21 22 23 max 7"}));
  machine.on_status(bench.now, 3, 400, {});
  EXPECT_EQ(bench.log(), (Log{"report 2 refused", "cancel 3", "fail 502 upstream_failed"}));
}

TEST(Resume, WaitsForAnAbsentWorkerWhileOneRefusesThePrefixAgainAndAgain) {
  Bench bench;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.set_state(0, WorkerState::kDead);
  EXPECT_EQ(bench.log().back(), "open 2@1 tokens carry 21 22 23 max 7");
  machine.on_status(bench.now, 2, 400, {});
  EXPECT_EQ(bench.log(), (Log{"report 1 refused", "cancel 2"}));  // not again at once
  bench.run(milliseconds(1'100));
  EXPECT_EQ(bench.log(), (Log{"open 3@1 tokens carry 21 22 23 max 7"}));
  machine.on_status(bench.now, 3, 400, {});
  EXPECT_EQ(bench.log(), (Log{"report 1 refused", "cancel 3"}));  // one worker's word, said twice
  bench.set_state(0, WorkerState::kReady);
  bench.run(milliseconds(1'100));
  EXPECT_EQ(bench.log(), (Log{"open 4@0 tokens carry 21 22 23 max 7"}));
}

TEST(Resume, IsRefusedWhenTheOnlyWorkerWithItsIdsRefusesThePrefixTwice) {
  Bench bench;
  bench.view.workers[1].tokens_identity = 8;
  auto& machine = bench.start();
  bench.three_tokens();
  bench.failed(1);
  bench.run(milliseconds(100));
  EXPECT_EQ(bench.log().back(), "open 2@0 tokens carry 21 22 23 max 7");
  machine.on_status(bench.now, 2, 400, {});
  EXPECT_EQ(bench.log().back(), "open 3@0 tokens carry 21 22 23 max 7");
  machine.on_status(bench.now, 3, 400, {});
  EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
}

TEST(Resume, IsRefusedForWhatIdsDoNotDescribe) {
  {
    Bench bench;
    bench.start();
    bench.token(1, {.ids = {21}, .text = "", .count = 1, .plain = false});  // a tool call
    bench.log();
    bench.failed(1);
    EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
  }
  {
    Bench bench;
    bench.spec.tokens_allowed = {false, false};
    bench.start();
    EXPECT_EQ(bench.log(), (Log{"open 1@0 first plain"}));
    bench.token(1, {.ids = {}, .text = "a"});
    bench.log();
    bench.failed(1);
    EXPECT_EQ(bench.log().back(), "fail 502 upstream_failed");
  }
}

TEST(Resume, ModesCanBeTurnedOff) {
  {
    Bench bench;
    bench.options.tokens = false;
    bench.start();
    bench.token(1, {.ids = {}, .text = "a"});
    bench.failed(1);
    EXPECT_EQ(bench.log(), (Log{"open 1@0 first plain", "forward 1", "report 0 reset", "cancel 1",
                                "fail 502 upstream_failed"}));
  }
  {
    Bench bench;
    bench.options.tokens = bench.options.restart = false;
    bench.start();
    bench.log();
    bench.failed(1);
    EXPECT_EQ(bench.log(), (Log{"report 0 reset", "cancel 1", "fail 502 upstream_failed"}));
    EXPECT_NE(bench.actions.last_error.message.find("turned off"), std::string::npos);
  }
}

TEST(Resume, OnAnotherBuildIsApproximateAndSaysSo) {
  Bench bench;
  bench.view.workers[1].exact_identity = 71;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.failed(1);
  EXPECT_EQ(bench.log().back(), "open 2@1 tokens carry 21 22 23 max 7 approximate");
  bench.token(2, {.ids = {24}, .text = "d", .count = 1, .prompt = 6});
  EXPECT_EQ(bench.log(), (Log{"comment holdfast: approximate", "say d"}));
  EXPECT_FALSE(bench.machine().record().migrations[0].exact);
}

TEST(Resume, StrictIdentityRefusesAnotherBuild) {
  Bench bench;
  bench.options.strict_identity = true;
  bench.view.workers[1].exact_identity = 71;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.set_state(0, WorkerState::kDead);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "fail 502 upstream_failed"}));
}

TEST(Resume, NeverCarriesIdsToAnotherVocabulary) {
  Bench bench;
  bench.view.workers[1].tokens_identity = 8;
  bench.start();
  bench.three_tokens();
  bench.log();
  bench.set_state(0, WorkerState::kDead);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "fail 502 upstream_failed"}));
}

TEST(Resume, StartsAnewOnAnotherVocabularyWhileNothingWasSent) {
  Bench bench(3);
  bench.view.workers[1].tokens_identity = 8;
  bench.view.workers[2].tokens_identity = 8;
  bench.start();
  bench.token(1, {.ids = {21}, .text = "", .count = 1});  // ids, no text yet
  // ~ a role or an empty chunk went out, no text did
  bench.log();
  bench.set_state(0, WorkerState::kDead);
  EXPECT_EQ(bench.log(), (Log{"cancel 1", "open 2@1 restart ids"}));
  // The old engine's prompt ids mean nothing here: they are asked for when they are needed.
  bench.token(2, {.ids = {41}, .text = "x", .count = 1, .with_prompt_ids = false});
  bench.failed(2);
  bench.run(seconds(4));  // until it is known whether worker 1 died of it
  EXPECT_EQ(bench.log().back(), "ask prompt_ids 2");
}

}  // namespace
}  // namespace hf::core
