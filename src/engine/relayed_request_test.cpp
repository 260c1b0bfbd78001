#include "engine/relayed_request.hpp"

#include <gtest/gtest.h>

namespace hf::engine {
namespace {

Result<RelayedRequest> json(std::string_view body) {
  return scan_relayed(BodyForm::kJson, "application/json", body);
}

TEST(RelayedRequest, ReadsTheModelOfJson) {
  EXPECT_EQ(json(R"({"input":["a",{"model":"no"}],"model":"m\/1"})")->model, "m/1");
  EXPECT_EQ(json(R"({"model":"a","model":"b"})")->model, "b");
  EXPECT_EQ(json(R"({"mod\u0065l":"b"})")->model, "b");
  EXPECT_EQ(json(R"({"model":null})")->model, "");
  EXPECT_EQ(json("{}")->model, "");
  EXPECT_FALSE(json(R"({"background":false})")->background);
  EXPECT_TRUE(json(R"({"background":true})")->background);
}

TEST(RelayedRequest, RefusesWhatIsNoJsonObject) {
  for (const auto* bad : {"", "[]", "\"a\"", "{\"model\":\"a\"", "{} x", "{\"model\":1}",
                          "{\"a\":tru}", "{\"\\ud800\":1}"}) {
    EXPECT_FALSE(json(bad)) << bad;
  }
  EXPECT_FALSE(json(R"({"model":")" + std::string(2000, 'x') + "\"}"));
}

TEST(RelayedRequest, ReadsTheModelOfAForm) {
  const std::string type = "multipart/form-data; boundary=B";
  const std::string part = "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nw-1\r\n";
  EXPECT_EQ(scan_relayed(BodyForm::kMultipart, type, part + "--B--\r\n")->model, "w-1");
  EXPECT_FALSE(scan_relayed(BodyForm::kMultipart, type, part + part + "--B--\r\n"));
  EXPECT_FALSE(scan_relayed(BodyForm::kMultipart, "application/json", "{}"));
}

}  // namespace
}  // namespace hf::engine
