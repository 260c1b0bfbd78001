// docs/features.md is what the code says; HOLDFAST_WRITE_DOCS=1 writes it.
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

#include "engine/dialect.hpp"

namespace hf::engine {
namespace {

TEST(FeatureTable, DocumentIsTheOneThatTheCodeMakes) {
  const std::string path = std::string(HF_SOURCE_DIR) + "/docs/features.md";
  const std::string expected =
      "# Features and modes\n\nGenerated from `src/engine/allow_list.cpp`; "
      "`restart` is always possible before the first token.\n\n" +
      feature_table();
  if (std::getenv("HOLDFAST_WRITE_DOCS") != nullptr) std::ofstream(path) << expected;
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), expected) << "run HOLDFAST_WRITE_DOCS=1 build/debug/test_engine";
}

}  // namespace
}  // namespace hf::engine
