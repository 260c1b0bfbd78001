#include "frontend/session_key.hpp"

#include <gtest/gtest.h>

namespace hf::frontend {
namespace {

struct Call {
  std::uint64_t session(std::string_view key) const {
    auto request = engine::scan_request(core::Endpoint::kChat, body);
    EXPECT_TRUE(request.has_value());
    return session_of(*parse_session_key(key), headers, &*request);
  }
  wire::Headers headers;
  std::string body = R"({"model":"m","user":"u7","messages":[{"role":"user","content":"hi"}]})";
};

TEST(SessionKey, IsAHeaderACookieOrAField) {
  EXPECT_EQ(parse_session_key("x-user-id")->from, SessionKey::From::kHeader);
  EXPECT_EQ(parse_session_key("cookie:sid")->from, SessionKey::From::kCookie);
  EXPECT_EQ(parse_session_key("cookie:sid")->name, "sid");
  EXPECT_EQ(parse_session_key("body:user")->from, SessionKey::From::kBody);
  for (const auto* bad : {"", "cookie:", "body:", "a b", "query:x", "a;b"})
    EXPECT_FALSE(parse_session_key(bad).has_value()) << bad;
}

TEST(SessionKey, ReadsAHeader) {
  Call call;
  EXPECT_EQ(call.session("x-user-id"), 0U);
  call.headers.append("X-User-Id", " 9999 ");
  const auto one = call.session("x-user-id");
  EXPECT_NE(one, 0U);
  call.headers.set("X-User-Id", "9998");
  EXPECT_NE(call.session("x-user-id"), one);
  call.headers.set("X-User-Id", "");
  EXPECT_EQ(call.session("x-user-id"), 0U);
}

TEST(SessionKey, ReadsACookieAmongOthers) {
  Call call;
  call.headers.append("Cookie", "asid=1; sid=abc;theme=dark");
  const auto session = call.session("cookie:sid");
  EXPECT_NE(session, 0U);
  call.headers.set("Cookie", "sid=abc");
  EXPECT_EQ(call.session("cookie:sid"), session);
  EXPECT_EQ(call.session("cookie:other"), 0U);
}

TEST(SessionKey, ReadsAFieldOfTheBody) {
  Call call;
  EXPECT_NE(call.session("body:user"), 0U);
  EXPECT_EQ(call.session("body:session_id"), 0U);
  call.body = R"({"model":"m","user":"","messages":[]})";
  EXPECT_EQ(call.session("body:user"), 0U);
  call.body = R"({"model":"m","user":null,"messages":[]})";
  EXPECT_EQ(call.session("body:user"), 0U);
}

}  // namespace
}  // namespace hf::frontend
