// A stable 64-bit hash of bytes: the same on every machine, so that replicas agree.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/random.hpp"

namespace hf {

/// FNV-1a, mixed once more so that all bits depend on all bytes. Not against attackers.
constexpr std::uint64_t hash_bytes(std::string_view bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : bytes) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return mix64(hash);
}

}  // namespace hf
