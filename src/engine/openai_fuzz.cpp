#include "engine/stream_fuzz_support.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  return hf::engine::fuzz_dialect(hf::engine::Kind::kOpenAi, bytes, size);
}
