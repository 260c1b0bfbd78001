// The allow-list, and docs/endpoints.md, which is what the code says; HOLDFAST_WRITE_DOCS=1 writes
// its table.
#include "frontend/routes.hpp"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace hf::frontend {
namespace {

using Kind = Destination::Kind;

TEST(Routes, KnowsEachEndpointByItsExactPath) {
  const RouteTable table;
  EXPECT_EQ(table.find("POST", "/v1/chat/completions").kind, Kind::kGenerate);
  EXPECT_EQ(table.find("POST", "/v1/completions").endpoint, core::Endpoint::kCompletions);
  EXPECT_EQ(table.find("GET", "/v1/models").kind, Kind::kModels);
  for (const auto& route : relayed_routes()) {
    const auto found = table.find("POST", route.path);
    EXPECT_EQ(found.kind, Kind::kRelay) << route.path;
    EXPECT_EQ(found.route, &route);
  }
}

TEST(Routes, NothingElseExists) {
  const RouteTable table;
  for (const auto* path : {"/",
                           "//v1/embeddings",
                           "/v1//embeddings",
                           "/v1/embeddings/",
                           "/V1/embeddings",
                           "/v1%2fembeddings",
                           "/v1/%65mbeddings",
                           "/v1/embeddings;x",
                           "/v1/embeddings%00",
                           "/inference/v1/abort_requests",
                           "/inference/v1/generate",
                           "/slots",
                           "/slots/0",
                           "/metrics",
                           "/props",
                           "/pause",
                           "/resume",
                           "/sleep",
                           "/wake_up",
                           "/load_lora_adapter",
                           "/v1/load_lora_adapter",
                           "/v1/unload_lora_adapter",
                           "/lora-adapters",
                           "/sim/fault",
                           "/sim/stats",
                           "/reset_prefix_cache",
                           "/collective_rpc",
                           "/server_info",
                           "/version",
                           "/health",
                           "/tokenizer_info",
                           "/scale_elastic_ep",
                           "/abort_requests",
                           "/v1/responses/id",
                           "/v1/responses/id/cancel",
                           "/completion",
                           "/chat/completions",
                           "/completions",
                           "/infill",
                           "/v1/models/"}) {
    for (const auto* method : {"GET", "POST", "PUT", "DELETE", "OPTIONS"}) {
      EXPECT_EQ(table.find(method, path).kind, Kind::kUnknown) << method << " " << path;
    }
  }
}

TEST(Routes, TheWrongMethodIsToldTheRightOnes) {
  const RouteTable table;
  EXPECT_EQ(table.find("GET", "/v1/embeddings").kind, Kind::kWrongMethod);
  EXPECT_EQ(table.find("GET", "/v1/embeddings").allow, "POST, OPTIONS");
  EXPECT_EQ(table.find("post", "/v1/embeddings").kind, Kind::kWrongMethod);
  EXPECT_EQ(table.find("HEAD", "/v1/chat/completions").kind, Kind::kWrongMethod);
  EXPECT_EQ(table.find("POST", "/v1/models").allow, "GET, HEAD, OPTIONS");
  EXPECT_EQ(table.find("HEAD", "/v1/models").kind, Kind::kModels);
}

TEST(Routes, AModelsNameMayBeEscaped) {
  const RouteTable table;
  const auto found = table.find("GET", "/v1/models/org%2Fname/x%");
  EXPECT_EQ(found.kind, Kind::kModel);
  EXPECT_EQ(found.model, "org/name/x%");
}

TEST(Routes, PathsCanBeChosen) {
  const std::vector<std::string> some = {"/v1/embeddings", "/tokenize", "/tokenize"};
  const auto table = RouteTable::of(some);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->find("POST", "/v1/embeddings").kind, Kind::kRelay);
  EXPECT_EQ(table->find("POST", "/v1/rerank").kind, Kind::kUnknown);
  EXPECT_TRUE(table->listing().ends_with("POST /v1/embeddings, POST /tokenize"));
  EXPECT_EQ(RouteTable::of({})->find("POST", "/tokenize").kind, Kind::kUnknown);
  const std::vector<std::string> bad = {"/slots"};
  ASSERT_FALSE(RouteTable::of(bad));
  EXPECT_NE(RouteTable::of(bad).error().detail.find("/slots"), std::string::npos);
}

TEST(Routes, DocumentHasTheTableThatTheCodeMakes) {
  const std::string path = std::string(HF_SOURCE_DIR) + "/docs/endpoints.md";
  const std::string begin = "<!-- table: generated from src/frontend/routes.cpp -->\n";
  const std::string end = "<!-- end -->\n";
  std::ostringstream read;
  read << std::ifstream(path).rdbuf();
  auto text = read.str();
  const auto from = text.find(begin);
  const auto to = text.find(end);
  ASSERT_TRUE(from != text.npos && to != text.npos && from < to) << path;
  const auto at = from + begin.size();
  if (std::getenv("HOLDFAST_WRITE_DOCS") != nullptr) {
    text.replace(at, to - at, route_table());
    std::ofstream(path) << text;
  } else {
    EXPECT_EQ(text.substr(at, to - at), route_table())
        << "run HOLDFAST_WRITE_DOCS=1 build/debug/test_frontend";
  }
}

}  // namespace
}  // namespace hf::frontend
