#include "core/client_error.hpp"

#include <gtest/gtest.h>
#include <set>

namespace hf::core {
namespace {

constexpr auto kLast = static_cast<int>(ErrorKind::kNoAnswer);

TEST(ClientError, EveryKindHasItsRow) {
  for (int i = 0; i <= kLast; ++i) {
    const auto error = client_error(static_cast<ErrorKind>(i), "so it is");
    EXPECT_GE(error.status, 400) << i;
    EXPECT_NE(error.code, "internal") << i;
    EXPECT_EQ(error.type, error.status < 500 ? "invalid_request_error" : "server_error") << i;
    EXPECT_EQ(error.message, "so it is");
  }
}

TEST(ClientError, OnlyWhatMayPassIsTriedAgain) {
  std::set<int> retried;
  for (int i = 0; i <= kLast; ++i) {
    const auto error = client_error(static_cast<ErrorKind>(i), {});
    if (error.should_retry) retried.insert(error.status);
  }
  EXPECT_EQ(retried, (std::set{502, 503, 504}));
  EXPECT_FALSE(client_error(ErrorKind::kPoisonSuspected, {}).should_retry);
}

TEST(ClientError, NamesTheModelThatIsNotThere) {
  const auto error = model_not_found("gone");
  EXPECT_EQ(error.status, 404);
  EXPECT_NE(error.message.find("`gone`"), std::string::npos);
}

}  // namespace
}  // namespace hf::core
