// The words of the simulated engines: a fixed vocabulary of fewer than 2,000 ids.
//
// It is ambiguous on purpose. " the" is one id, and also " th"+"e" and " t"+"he"; an emoji is
// "\xF0\x9F" and two bytes, or four bytes. So ids say more than text does: tokenising generated
// text gives other ids, and other ids are continued differently. Text as a stand-in for ids shows
// up as a wrong answer, never as a plausible one.
//
// Immutable after construction, so one may be shared by any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/types.hpp"

namespace hf::simulator {

using core::TokenId;

inline constexpr TokenId kEndOfText = 0;  // <|endoftext|>
inline constexpr TokenId kImStart = 1;    // <|im_start|>
inline constexpr TokenId kImEnd = 2;      // <|im_end|>, the end-of-sequence id
inline constexpr TokenId kBos = 3;        // <|bos|>, put before a prompt only where asked for
inline constexpr TokenId kSpecialCount = 8;
inline constexpr TokenId kFirstByte = kSpecialCount;  // 256 ids, one a byte (variant 0)

class Vocabulary {
 public:
  /// `variant` 0 is what every engine of a fleet shares. Another value gives the same pieces under
  /// other ids: an engine of another identity, which the probe text of a dialect must notice.
  explicit Vocabulary(std::uint64_t variant = 0);

  /// Variant 0, built once.
  static const Vocabulary& standard();

  std::uint64_t variant() const { return variant_; }
  TokenId size() const { return static_cast<TokenId>(pieces_.size()); }
  bool valid(TokenId id) const { return id >= 0 && id < size(); }
  bool special(TokenId id) const { return id >= 0 && id < kSpecialCount; }

  /// The bytes of one valid id (a special id: its name). They need not be whole characters.
  std::string_view bytes(TokenId id) const { return pieces_[static_cast<std::size_t>(id)]; }

  /// The id of exactly these bytes, -1 if no piece has them.
  TokenId find(std::string_view bytes) const;

  /// The id of one byte.
  TokenId byte(unsigned char value) const { return byte_ids_[value]; }

  /// Greedy longest match. With `parse_special`, names such as <|im_end|> become their ids;
  /// without, they are plain text. `add_bos` puts kBos in front unless it is there already.
  /// Works for any bytes.
  std::vector<TokenId> tokenize(std::string_view text, bool parse_special,
                                bool add_bos = false) const;

  /// The text of valid ids; broken characters become U+FFFD. Special ids are skipped unless shown.
  std::string detokenize(std::span<const TokenId> ids, bool show_special = false) const;

  /// Characters of several bytes that generation writes.
  std::span<const std::string> characters() const { return characters_; }

  /// Pieces with which generation may begin, as often as it should choose them.
  std::span<const TokenId> openers() const { return openers_; }
  /// First bytes of characters whose usual first id is longer: characters split in another way.
  std::span<const TokenId> odd_openers() const { return odd_openers_; }
  /// What may follow a piece so that both read as one word; empty for most.
  std::span<const TokenId> followers(TokenId id) const {
    return followers_[static_cast<std::size_t>(id)];
  }
  /// Ids that may follow a half character of 1 to 3 bytes; never empty for a legal one.
  std::span<const TokenId> completions(std::string_view half) const;

 private:
  struct Node {
    std::array<std::int16_t, 16> next;  // half a byte at a time: small, and no hashing
    TokenId id;
  };

  void add(std::string_view piece);
  void add_words();
  void add_characters();
  void permute();
  void build_trie();
  void link_words();
  void link_characters();
  void offer_completion(std::string_view half, TokenId id);
  std::pair<TokenId, std::size_t> longest(std::string_view text) const;

  std::uint64_t variant_;
  std::vector<std::string> pieces_;
  std::vector<Node> trie_;
  std::array<TokenId, 256> byte_ids_{};
  std::vector<std::string> characters_;
  std::vector<TokenId> openers_;
  std::vector<TokenId> odd_openers_;
  std::vector<std::vector<TokenId>> followers_;
  std::unordered_map<std::uint32_t, std::vector<TokenId>> completions_;  // by packed half
};

/// What `byte` is after the bytes of a half character (`half` may be empty).
enum class Utf8Step : std::uint8_t { kComplete, kPending, kBroken };
Utf8Step utf8_step(std::string_view half, unsigned char byte);

/// Bytes to whole characters, one piece at a time. What a byte string ends with and is not yet a
/// character stays inside; what can never become one comes out as U+FFFD.
class Utf8Decoder {
 public:
  /// Appends to `out` the text that is complete after `bytes`.
  void push(std::string_view bytes, std::string& out);
  /// Appends U+FFFD if something was left, and forgets it.
  void finish(std::string& out);
  /// True while a character is half read.
  bool pending() const { return size_ != 0; }
  std::string_view rest() const { return {bytes_.data(), size_}; }

 private:
  std::array<char, 4> bytes_{};
  std::uint8_t size_ = 0;
};

}  // namespace hf::simulator
