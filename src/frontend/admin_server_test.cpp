#include "frontend/admin_server.hpp"

#include <gtest/gtest.h>

#include "net/run_blocking.hpp"

namespace hf::frontend {
namespace {

net::Task<FromCores<std::vector<std::string>>> no_requests(bool complete) {
  co_return FromCores<std::vector<std::string>>{{{}, {}}, complete};
}
net::Task<FromCores<std::size_t>> cancelled(std::size_t count, bool complete) {
  co_return FromCores<std::size_t>{{0, count}, complete};
}

class AdminTest : public testing::Test {
 protected:
  AdminTest() {
    state_.failed = &failed_;
    state_.describe = [this](const std::string&) { return no_requests(complete_); };
    state_.cancel = [this](const std::string&, core::CancelMode) {
      return cancelled(count_, complete_);
    };
    core_.start();
  }
  int status(std::string method, std::string path, std::string query = {}) {
    http::Request request;
    request.method = std::move(method);
    request.path = std::move(path);
    request.query = std::move(query);
    auto answer = net::run_blocking(core_, admin_answer(state_, std::move(request)),
                                    std::chrono::seconds(60));
    body_ = answer->body;
    return answer->status;
  }
  int refusal(wire::Headers headers) {
    http::Request request;
    request.headers = std::move(headers);
    const auto refused = admin_refusal(state_, request);
    return refused ? refused->status : 0;
  }

  FailedRequests failed_;
  AdminState state_;
  std::size_t count_ = 1;
  bool complete_ = true;
  std::string body_;
  net::Core core_{"test"};
};

TEST_F(AdminTest, CancelsByIdAndSaysHowMany) {
  count_ = 2;
  EXPECT_EQ(status("POST", "/v1/requests/a/cancel", "mode=kill"), 200);
  EXPECT_NE(body_.find(R"("cancelled":2)"), std::string::npos);
}

TEST_F(AdminTest, TellsUnknownFromNoAnswer) {
  count_ = 0;
  EXPECT_EQ(status("POST", "/v1/requests/a/cancel", "mode=stop"), 404);
  EXPECT_EQ(status("GET", "/v1/requests/a"), 404);
  complete_ = false;
  EXPECT_EQ(status("POST", "/v1/requests/a/cancel", "mode=stop"), 504);
  EXPECT_EQ(status("GET", "/v1/requests/a"), 504);
}

TEST_F(AdminTest, ShowsTheLastThousandThatFailed) {
  for (int i = 0; i < 1'001; ++i) failed_.add({"r" + std::to_string(i), "no_worker", 503, "line"});
  EXPECT_EQ(status("GET", "/v1/requests/r0"), 404);
  EXPECT_EQ(status("GET", "/v1/requests/r1"), 200);
  EXPECT_NE(body_.find("no_worker"), std::string::npos);
}

TEST_F(AdminTest, RefusesPathsAndMethodsThatDoNotExist) {
  EXPECT_EQ(status("GET", "/"), 404);
  EXPECT_EQ(status("GET", "/v1/requestsx"), 404);
  EXPECT_EQ(status("GET", "/v1/requests/"), 404);
  EXPECT_EQ(status("GET", "/v1/requests/a/b"), 404);
  EXPECT_EQ(status("GET", "/v1/requests/a/cancel", "mode=stop"), 405);
  EXPECT_EQ(status("POST", "/v1/requests"), 405);
  EXPECT_EQ(status("POST", "/v1/requests/a/cancel"), 400);
}

TEST_F(AdminTest, ATokenIsComparedWhole) {
  state_.token = "secret";
  wire::Headers headers;
  EXPECT_EQ(refusal(headers), 401);
  for (const std::string given : {"", "secre", "secrets", "secretsecret", "SECRET"}) {
    headers.set("Authorization", "Bearer " + given);
    EXPECT_EQ(refusal(headers), 401) << given;
  }
  headers.set("Authorization", "bearer secret");
  EXPECT_EQ(refusal(headers), 0);
  headers.append("Origin", "null");
  EXPECT_EQ(refusal(headers), 403);
}

TEST_F(AdminTest, WithoutATokenTheHostMustBeLoopback) {
  for (const std::string host : {"127.0.0.1:9091", "localhost", "[::1]", "[::1]:1"}) {
    wire::Headers headers;
    headers.append("Host", host);
    EXPECT_EQ(refusal(headers), 0) << host;
  }
  for (const std::string host : {"a.example", "127.0.0.1.nip.io:9091", "localhost.evil", ""}) {
    wire::Headers headers;
    headers.append("Host", host);
    EXPECT_EQ(refusal(headers), 403) << host;
  }
}

}  // namespace
}  // namespace hf::frontend
