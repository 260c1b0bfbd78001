#include "core/ledger.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace hf::core {

void Ledger::add(const UpstreamEvent& event, std::size_t base) {
  if (!intact_) return;
  const auto before = ids_.size();
  const bool finished = event.finish != Finish::kNone;
  if (event.ids.empty() && event.text.empty()) return;  // role, usage, a bare finish event
  if (event.completion_tokens < 0) {
    intact_ = false;  // an engine that does not count cannot be checked
    return;
  }
  const auto total = base + static_cast<std::size_t>(event.completion_tokens);
  if (total < before + event.ids.size()) {
    intact_ = false;
    return;
  }
  const auto missing = total - before - event.ids.size();
  const auto first = std::min(held_, before);
  held_ = event.text.empty() ? first : kNone;
  const bool untold = missing != 0 || untold_tail_;
  untold_tail_ = untold && event.text.empty();
  if (untold) {
    // Only the shape that llama.cpp makes can be filled: one id an event, and sooner or later the
    // text of all of them. What is missing at the very end does not matter: nothing goes on after
    // it.
    if (event.ids.size() == 1) {
      ids_.resize(before + missing, kUnknownToken);
      if (!untold_tail_) {
        gaps_.push_back({first, before + missing + 1 - first, std::string(event.text)});
      }
    } else if (!finished) {
      intact_ = false;
      return;
    }
  }
  ids_.insert(ids_.end(), event.ids.begin(), event.ids.end());
  text_in_sync_ = event.ids.size() == 1 && !event.text.empty();
}

bool Ledger::fill(const std::vector<TokenId>& ids) {
  if (ids.size() != ids_.size()) return false;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || (ids_[i] != kUnknownToken && ids_[i] != ids[i])) return false;
  }
  ids_ = ids;
  gaps_.clear();
  return true;
}

void Ledger::drop_untold_tail() {
  if (untold_tail_) truncate(held_);
}

void Ledger::truncate(std::size_t size) {
  HF_ASSERT(size <= ids_.size());
  ids_.resize(size);
  held_ = kNone;
  untold_tail_ = false;
  while (!gaps_.empty() && gaps_.back().first + gaps_.back().count > size) gaps_.pop_back();
}

void Ledger::clear() {
  ids_.clear();
  gaps_.clear();
  held_ = kNone;
  untold_tail_ = false;
  intact_ = true;
  text_in_sync_ = true;
}

std::size_t Ledger::memory_bytes() const {
  std::size_t bytes = ids_.capacity() * sizeof(TokenId) + gaps_.capacity() * sizeof(LedgerGap);
  for (const auto& gap : gaps_) bytes += gap.text.capacity();
  return bytes;
}

}  // namespace hf::core
