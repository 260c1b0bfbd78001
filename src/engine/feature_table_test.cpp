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
      "# Features and modes\n\nGenerated from `src/engine/allow_list.cpp`. A request goes through "
      "unchanged whatever is in it; this is about failures.\n\n"
      "- **Nothing was sent yet** (always so where the client does not stream): `restart`, for "
      "every "
      "request.\n"
      "- **Streamed, text was sent**: the columns say with which values of a field it goes on, and "
      "what becomes of the field; all fields must allow it. Else one clear error at the moment of "
      "failure.\n"
      "- **Not streamed**: where the columns allow it the answer is assembled from a stream, and "
      "goes "
      "on by ids; else it passes unchanged and restarts.\n"
      "- Mode `text` is opt-in. On vLLM and llama.cpp it follows their own columns, on SGLang and "
      "other OpenAI-like engines the last one.\n"
      "- A delta with anything but role and content (tool calls, reasoning) forbids going on from "
      "then on, whatever the fields said.\n\n" +
      feature_table();
  if (std::getenv("HOLDFAST_WRITE_DOCS") != nullptr) std::ofstream(path) << expected;
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), expected) << "run HOLDFAST_WRITE_DOCS=1 build/debug/test_engine";
}

}  // namespace
}  // namespace hf::engine
