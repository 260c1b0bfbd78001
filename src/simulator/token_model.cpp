#include "simulator/token_model.hpp"

#include <string_view>

#include "base/random.hpp"

namespace hf::simulator {
namespace {

// Of a hundred ids that could go on as a split word, how many do.
constexpr std::uint64_t kFollowPercent = 75;

TokenId pick(std::span<const TokenId> ids, std::uint64_t h) {
  return ids[static_cast<std::size_t>(h % ids.size())];
}

}  // namespace

TokenState TokenModel::start() const {
  TokenState state;
  state.hash = mix64(vocabulary_->variant() + 0x51ed);
  return state;
}

void TokenModel::push(TokenState& state, TokenId id) const {
  state.hash = mix64(state.hash ^ (static_cast<std::uint64_t>(id) + 1) * 0x9e3779b97f4a7c15ULL);
  state.last = id;
  if (vocabulary_->special(id)) {
    state.half_size = 0;
    return;
  }
  for (const char c : vocabulary_->bytes(id)) {
    const auto byte = static_cast<unsigned char>(c);
    Utf8Step step = utf8_step({state.half.data(), state.half_size}, byte);
    if (step == Utf8Step::kBroken && state.half_size != 0) {
      state.half_size = 0;
      step = utf8_step({}, byte);
    }
    if (step == Utf8Step::kPending) {
      state.half[state.half_size++] = c;
    } else {
      state.half_size = 0;
    }
  }
}

void TokenModel::push(TokenState& state, std::span<const TokenId> ids) const {
  for (const TokenId id : ids) push(state, id);
}

TokenId TokenModel::next(const TokenState& state, std::uint64_t noise, bool eos_allowed) const {
  const std::uint64_t h = mix64(state.hash ^ mix64(noise));
  if (state.half_size != 0) {
    return pick(vocabulary_->completions({state.half.data(), state.half_size}), h >> 8);
  }
  if (eos_allowed && eos_every_ != 0 && mix64(h ^ 0xe05) % eos_every_ == 0) return kImEnd;
  const auto followers =
      state.last >= 0 ? vocabulary_->followers(state.last) : std::span<const TokenId>{};
  if (!followers.empty() && h % 100 < kFollowPercent) return pick(followers, h >> 8);
  const std::uint64_t odd = mix64(h ^ 0x0dd);
  if (odd_every_ != 0 && odd % odd_every_ == 0) return pick(vocabulary_->odd_openers(), odd >> 32);
  return pick(vocabulary_->openers(), h >> 8);
}

}  // namespace hf::simulator
