// Any order of inputs: the rules of request_fuzz_support.hpp hold.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "core/request_fuzz_world.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const auto broken = hf::core::fuzz::World(bytes, size).run();
  if (broken.empty()) return 0;
  std::fprintf(stderr, "broken: %s\n", broken.c_str());
  std::abort();
}
