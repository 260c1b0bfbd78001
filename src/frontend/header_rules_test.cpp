#include "frontend/header_rules.hpp"

#include <gtest/gtest.h>

namespace hf::frontend {
namespace {

std::string text(const wire::Headers& headers) {
  std::string out;
  for (const auto& header : headers) out += header.name + "=" + header.value + ";";
  return out;
}

TEST(HeaderRules, EnginesGetEndToEndFieldsAndNoCredentials) {
  wire::Headers from;
  for (const auto* name :
       {"Host", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Authorization",
        "Authorization", "Cookie", "Content-Length", "Content-Type", "Accept-Encoding", "Expect",
        "X-Request-Id", "X-Holdfast-Priority", "x-holdfast-anything", "Range", "If-None-Match",
        "Content-Encoding"}) {
    from.append(name, "x");
  }
  from.append("traceparent", "00-1-2-01");
  from.append("OpenAI-Organization", "o");
  from.append("Accept", "audio/*");
  EXPECT_EQ(text(to_engine(from, "a/b")),
            "traceparent=00-1-2-01;OpenAI-Organization=o;Accept=audio/*;Content-Type=a/b;"
            "Accept-Encoding=identity;");
}

TEST(HeaderRules, TheClientsAuthorizationGoesOnOnlyWhereThatIsAsked) {
  wire::Headers from;
  from.append("authorization", "Bearer a");
  EXPECT_FALSE(to_engine(from, "a/b").find("authorization"));
  EXPECT_EQ(to_engine(from, "a/b", Auth::kPassthrough).find("authorization"), "Bearer a");
  from.append("Authorization", "Bearer b");  // which of them counts is a matter of opinion
  EXPECT_FALSE(to_engine(from, "a/b", Auth::kPassthrough).find("authorization"));
}

TEST(HeaderRules, WhatConnectionNamesIsHopByHop) {
  wire::Headers from;
  from.append("Connection", "close, X-Secret");
  from.append("connection", "x-other");
  from.append("x-secret", "1");
  from.append("X-Other", "2");
  from.append("X-Kept", "3");
  EXPECT_EQ(text(to_client(from)), "X-Kept=3;");
}

TEST(HeaderRules, ClientsGetNoCookiesAndNoFramingOfAnEngine) {
  wire::Headers from;
  for (const auto* name : {"Set-Cookie", "Server", "Date", "Content-Length", "Transfer-Encoding",
                           "X-Request-Id", "x-holdfast-fidelity", "Connection"}) {
    from.append(name, "x");
  }
  from.append("Content-Type", "audio/wav");
  from.append("Retry-After", "3");
  EXPECT_EQ(text(to_client(from)), "Content-Type=audio/wav;Retry-After=3;");
}

}  // namespace
}  // namespace hf::frontend
