// The id ledger: every token id of a stream, counted against the engine's own running count.
//
// An answer can go on elsewhere by ids only if all of them are known. The ledger keeps the proof:
// each event's ids and the engine's count after it must agree. Ids that llama.cpp never tells
// (inside a character) become a gap that a tokenizer may fill; anything else breaks the ledger.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/types.hpp"

namespace hf::core {

/// Places whose ids were not told: `count` of them up to and with the one whose id is known. Ids
/// whose text was held back until then lie inside: their text is a part of `text`.
struct LedgerGap {
  std::size_t first = 0;  // index of the first place that `text` covers
  std::size_t count = 0;  // places, the last of which has its id
  std::string text;       // what these tokens read as
};

class Ledger {
 public:
  /// Records one event. `base` is the ledger's size when this attempt began: engines count from
  /// there. Does nothing once broken.
  void add(const UpstreamEvent& event, std::size_t base);
  /// Replaces the unknown places; false (and nothing done) unless `ids` has the ledger's size and
  /// agrees with every id that is known.
  bool fill(const std::vector<TokenId>& ids);
  /// The last places have ids that were not told, and no text yet that could tell them.
  bool has_untold_tail() const { return untold_tail_; }
  /// Forgets them, and what was held back with them: no text of theirs was shown.
  void drop_untold_tail();
  /// Forgets the ids from `size` on.
  void truncate(std::size_t size);
  void clear();

  const std::vector<TokenId>& ids() const { return ids_; }
  const std::vector<LedgerGap>& gaps() const { return gaps_; }
  std::size_t size() const { return ids_.size(); }
  /// False once the count and the ids disagreed in a way that nothing can mend.
  bool intact() const { return intact_; }
  void break_it() { intact_ = false; }
  /// The text sent so far certainly covers every id (no held-back text, no half character).
  bool text_in_sync() const { return text_in_sync_; }
  void set_text_in_sync(bool value) { text_in_sync_ = value; }
  std::size_t memory_bytes() const;

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::vector<TokenId> ids_;
  std::vector<LedgerGap> gaps_;
  std::size_t held_ = kNone;  // the first id whose text did not come yet
  bool untold_tail_ = false;
  bool intact_ = true;
  bool text_in_sync_ = true;  // an empty ledger covers an empty text
};

}  // namespace hf::core
