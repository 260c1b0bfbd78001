// Bodies of clients, any bytes: what is accepted stays valid JSON through every dialect.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/dialect.hpp"
#include "engine/questions.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace hf::engine;
  const std::string body(reinterpret_cast<const char*>(bytes), size);
  for (const auto endpoint : {hf::core::Endpoint::kChat, hf::core::Endpoint::kCompletions}) {
    const auto request = scan_request(endpoint, body);
    if (!request) continue;
    for (const Kind kind : {Kind::kVllm, Kind::kLlamaCpp, Kind::kOpenAi}) {
      const Dialect& dialect = Dialect::of(kind);
      const auto call = dialect.first(*request, true);
      if (!hf::wire::json_valid(call.body)) std::abort();
      if (!call.ids_added && call.body != body) std::abort();
      if (!dialect.tokens_refused_by(*request)) {
        const auto resumed = dialect.resume(*request, {{1, 2}, {3}, 4, 5});
        if (!hf::wire::json_valid(resumed.body)) std::abort();
      }
      AskPromptIds question(kind, *request);
      const auto step = question.start();
      const auto* asked = std::get_if<WireRequest>(&step);
      if (asked != nullptr && !hf::wire::json_valid(asked->body)) std::abort();
    }
  }
  return 0;
}
