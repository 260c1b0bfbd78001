// Whole bodies of engines, any bytes: judged without a crash, and from what is learned valid JSON
// is written whatever is filled in.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "engine/whole_body.hpp"

namespace {

using namespace hf::engine;

std::string write(const WholeTemplate& form, const Identity& identity, std::string_view text,
                  std::string_view finish, Counts counts) {
  std::string out;
  form.append(out, {&identity, text, finish, "\"\\u0041\"", counts, {}, {}});
  return out;
}

void check(Kind kind, hf::core::Endpoint endpoint, std::string_view body) {
  const auto form = WholeTemplate::learn(kind, endpoint, body);
  if (!form) return;
  if (!hf::wire::json_valid(body) || form->content_type().empty()) std::abort();
  if (judge_whole(kind, body).reason == hf::core::Reason::kProtocol) std::abort();
  const Identity identity{"\"an\\\"id\"", "12", "\"m\"", "\"f\""};
  const auto out = write(*form, identity, "a\"b\\\n\xC3\xA9\x01", "length", {3, 5});
  if (!hf::wire::json_valid(out)) std::abort();
  if (judge_whole(kind, out).reason != hf::core::Reason::kNone) std::abort();
  // What we wrote is of the engine's own form: it is learned again, and writes the same.
  const auto again = WholeTemplate::learn(kind, endpoint, out);
  if (again &&
      write(*again, identity, "x", "stop", {3, 5}) != write(*form, identity, "x", "stop", {3, 5})) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(bytes), size);
  for (const Kind kind : {Kind::kVllm, Kind::kLlamaCpp, Kind::kOpenAi}) {
    judge_whole(kind, body);
    for (const auto endpoint : {hf::core::Endpoint::kChat, hf::core::Endpoint::kCompletions}) {
      check(kind, endpoint, body);
    }
  }
  return 0;
}
