// The "language model" of the simulated engines: the next token is a pure function of all tokens
// before it, kept as a rolling state of constant size. So every answer is right or wrong, and the
// same prefix is continued the same way on every engine of one identity.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "simulator/vocabulary.hpp"

namespace hf::simulator {

/// Everything the model remembers of a sequence; O(1) to extend, copyable.
struct TokenState {
  std::uint64_t hash = 0;
  TokenId last = -1;
  std::array<char, 4> half{};  // bytes of a character that the last ids began
  std::uint8_t half_size = 0;
};

class TokenModel {
 public:
  /// `eos_every`: mean tokens between end-of-sequence ids, 0 = never. `odd_every`: mean tokens
  /// between characters that are split in another way than the tokenizer splits them, 0 = never.
  /// `vocabulary` must outlive it.
  TokenModel(const Vocabulary& vocabulary, std::uint32_t eos_every, std::uint32_t odd_every = 0)
      : vocabulary_(&vocabulary), eos_every_(eos_every), odd_every_(odd_every) {}

  TokenState start() const;
  void push(TokenState& state, TokenId id) const;
  void push(TokenState& state, std::span<const TokenId> ids) const;

  /// The next id. `noise` 0 is the greedy choice; another value is a draw, the same for the same
  /// state and noise. `eos_allowed` false: the second choice where the first would be the end.
  TokenId next(const TokenState& state, std::uint64_t noise, bool eos_allowed) const;

  const Vocabulary& vocabulary() const { return *vocabulary_; }

 private:
  const Vocabulary* vocabulary_;
  std::uint32_t eos_every_;
  std::uint32_t odd_every_;
};

}  // namespace hf::simulator
