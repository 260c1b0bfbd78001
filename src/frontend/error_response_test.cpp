#include "frontend/error_response.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace hf::frontend {
namespace {

core::ClientError overloaded() {
  return core::client_error(core::ErrorKind::kNoWorker, "No worker for model `a\"b` is available.",
                            std::chrono::milliseconds(1500));
}

TEST(ErrorResponse, BodyIsTheOpenAiForm) {
  const auto body = boost::json::parse(error_body(overloaded())).as_object();
  const auto& error = body.at("error").as_object();
  EXPECT_EQ(error.at("message").as_string(), "No worker for model `a\"b` is available.");
  EXPECT_EQ(error.at("type").as_string(), "server_error");
  EXPECT_EQ(error.at("code").as_string(), "no_worker");
  EXPECT_TRUE(error.at("param").is_null());
}

TEST(ErrorResponse, RetryAfterIsRoundedUpAndToldInMilliseconds) {
  const auto response = error_response(overloaded(), "id-1");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.find("retry-after"), "2");
  EXPECT_EQ(response.headers.find("retry-after-ms"), "1500");
  EXPECT_EQ(response.headers.find("x-request-id"), "id-1");
  EXPECT_FALSE(response.headers.find("x-should-retry"));
}

TEST(ErrorResponse, RetryAfterStaysWithinThirtySeconds) {
  auto error = overloaded();
  error.retry_after = std::chrono::minutes(10);
  const auto response = error_response(error, "");
  EXPECT_EQ(response.headers.find("retry-after"), "30");
  EXPECT_EQ(response.headers.find("retry-after-ms"), "30000");
}

TEST(ErrorResponse, WhatARetryCannotHelpSaysSo) {
  const auto response = error_response(bad_request({Code::kBadInput, Retry::kNever, "broken"}), "");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.headers.find("x-should-retry"), "false");
  EXPECT_EQ(error_response(bad_request({Code::kTooLarge, Retry::kNever, "big"}), "").status, 413);
}

TEST(ErrorResponse, EventIsOneSseEventWithoutDone) {
  const auto event = error_event(overloaded());
  EXPECT_TRUE(event.starts_with("data: {\"error\":"));
  EXPECT_TRUE(event.ends_with("}}\n\n"));
  EXPECT_EQ(event.find("[DONE]"), std::string::npos);
}

}  // namespace
}  // namespace hf::frontend
