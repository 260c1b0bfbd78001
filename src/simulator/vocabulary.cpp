#include "simulator/vocabulary.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/assert.hpp"
#include "base/random.hpp"

namespace hf::simulator {
namespace {

constexpr std::array<std::string_view, kSpecialCount> kSpecialNames = {
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|bos|>",
    "<|pad|>",       "<|tool|>",     "<|think|>",  "<|/think|>"};

constexpr std::string_view kWords[] = {
    "the",     "then",     "there",  "this",   "that",    "they",   "other",  "another", "and",
    "hand",    "land",     "sand",   "in",     "into",    "inside", "within", "sea",     "season",
    "seat",    "see",      "seen",   "wave",   "waves",   "water",  "light",  "lighter", "night",
    "nightly", "right",    "bright", "sight",  "might",   "river",  "over",   "ever",    "never",
    "every",   "very",     "under",  "wonder", "fox",     "forest", "for",    "fore",    "before",
    "more",    "shore",    "story",  "wind",   "window",  "winter", "when",   "where",   "here",
    "were",    "was",      "a",      "an",     "of",      "off",    "to",     "tow",     "town",
    "down",    "is",       "island", "his",    "her",     "she",    "he",     "ship",    "shop",
    "cat",     "captain",  "car",    "care",   "careful", "stone",  "tone",   "one",     "old",
    "gold",    "told",     "hold",   "cold",   "long",    "along",  "among",  "quick",   "quiet",
    "queen",   "question", "answer", "word",   "world",   "work"};

constexpr std::string_view kCyrillicWords[] = {"море", "мороз", "мир", "река", "при", "привет"};

constexpr std::string_view kCharacters[] = {
    "🎉", "🚀", "🎊", "🎁", "🌍", "🌊", "😀", "🦊", "⭐", "☀",  "日", "本", "語", "海", "山", "川",
    "水", "の", "は", "を", "に", "あ", "い", "う", "え", "か", "き", "く", "м",  "о",  "р",  "е",
    "и",  "к",  "а",  "п",  "в",  "т",  "ж",  "щ",  "ю",  "я",  "é",  "ü",  "ß",  "न",  "म",  "क"};

// Parts of characters that have an id of their own, so that a character is two or three ids.
constexpr std::string_view kCharacterParts[] = {"\xF0\x9F", " \xF0\x9F", "\xE3\x81", "\xE6\x97",
                                                "\xE0\xA4"};
constexpr std::string_view kWholeCharacters[] = {"м", "о", "р", "е", "и", "日", "の", "é"};

std::uint32_t pack(std::string_view half) {
  std::uint32_t key = static_cast<std::uint32_t>(half.size());
  for (const char c : half) key = (key << 8) | static_cast<unsigned char>(c);
  return key;
}

std::size_t utf8_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  return 0;
}

bool second_byte_legal(unsigned char lead, unsigned char byte) {
  if (byte < 0x80 || byte > 0xBF) return false;
  if (lead == 0xE0) return byte >= 0xA0;
  if (lead == 0xED) return byte <= 0x9F;
  if (lead == 0xF0) return byte >= 0x90;
  if (lead == 0xF4) return byte <= 0x8F;
  return true;
}

}  // namespace

Utf8Step utf8_step(std::string_view half, unsigned char byte) {
  if (half.empty()) {
    const std::size_t length = utf8_length(byte);
    if (length == 0) return Utf8Step::kBroken;
    return length == 1 ? Utf8Step::kComplete : Utf8Step::kPending;
  }
  const auto lead = static_cast<unsigned char>(half[0]);
  const bool legal = half.size() == 1 ? second_byte_legal(lead, byte) : (byte & 0xC0) == 0x80;
  if (!legal) return Utf8Step::kBroken;
  return half.size() + 1 == utf8_length(lead) ? Utf8Step::kComplete : Utf8Step::kPending;
}

Vocabulary::Vocabulary(std::uint64_t variant) : variant_(variant) {
  for (const std::string_view name : kSpecialNames) pieces_.emplace_back(name);
  for (int byte = 0; byte < 256; ++byte) pieces_.emplace_back(1, static_cast<char>(byte));
  trie_.push_back({});
  trie_[0].next.fill(-1);
  trie_[0].id = -1;
  add_words();
  add_characters();
  if (variant_ != 0) permute();
  build_trie();
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids_[byte] = find({&c, 1});
  }
  followers_.resize(pieces_.size());
  link_words();
  link_characters();
  HF_ASSERT(size() < 2000);
}

const Vocabulary& Vocabulary::standard() {
  static const Vocabulary vocabulary;
  return vocabulary;
}

void Vocabulary::add(std::string_view piece) {
  if (piece.size() < 2) return;  // single bytes are there already
  const auto first = pieces_.begin() + kSpecialCount;
  if (std::find(first, pieces_.end(), piece) == pieces_.end()) pieces_.emplace_back(piece);
}

void Vocabulary::add_words() {
  for (const std::string_view word : kWords) {
    const std::string spaced = " " + std::string(word);
    add(spaced);
    // Every word can be written in at least two other ways: cut after one letter or in the middle.
    for (const std::size_t cut : {std::size_t{2}, spaced.size() / 2 + 1}) {
      if (cut >= spaced.size()) continue;
      add(std::string_view(spaced).substr(0, cut));
      add(std::string_view(spaced).substr(cut));
    }
  }
  for (const std::string_view piece : {"\n\n", ". ", ", ", ".\n", "  ", "The", "Once"}) add(piece);
}

void Vocabulary::add_characters() {
  for (const std::string_view c : kCharacters) characters_.emplace_back(c);
  std::sort(characters_.begin(), characters_.end());
  for (const std::string_view piece : kCharacterParts) add(piece);
  for (const std::string_view piece : kWholeCharacters) add(piece);
  for (const std::string_view word : kCyrillicWords) {
    add(" " + std::string(word));
    add(word);
  }
}

void Vocabulary::permute() {
  Random random(variant_);
  for (std::size_t i = pieces_.size() - 1; i > kSpecialCount; --i) {
    const std::size_t j = kSpecialCount + random.below(i - kSpecialCount + 1);
    std::swap(pieces_[i], pieces_[j]);
  }
}

void Vocabulary::build_trie() {
  for (std::size_t id = kSpecialCount; id < pieces_.size(); ++id) {
    std::size_t node = 0;
    for (const char c : pieces_[id]) {
      const auto byte = static_cast<unsigned>(static_cast<unsigned char>(c));
      for (const unsigned half : {byte >> 4U, byte & 15U}) {
        if (trie_[node].next[half] < 0) {
          trie_[node].next[half] = static_cast<std::int16_t>(trie_.size());
          trie_.push_back({});
          trie_.back().next.fill(-1);
          trie_.back().id = -1;
        }
        node = static_cast<std::size_t>(trie_[node].next[half]);
      }
    }
    trie_[node].id = static_cast<TokenId>(id);
  }
}

void Vocabulary::link_words() {
  for (const std::string_view word : kWords) {
    const std::string spaced = " " + std::string(word);
    const TokenId whole = find(spaced);
    openers_.insert(openers_.end(), 3, whole);
    for (std::size_t cut = 1; cut < spaced.size(); ++cut) {
      const TokenId head = find(std::string_view(spaced).substr(0, cut));
      const TokenId tail = find(std::string_view(spaced).substr(cut));
      if (cut < 2 || head < 0 || tail < 0) continue;
      auto& list = followers_[static_cast<std::size_t>(head)];
      if (std::find(list.begin(), list.end(), tail) == list.end()) list.push_back(tail);
      openers_.push_back(head);
    }
  }
  for (const char c : {'.', ',', '!', '\n', '1', '2', ' '}) {
    openers_.insert(openers_.end(), 3, byte(static_cast<unsigned char>(c)));
  }
  openers_.push_back(find("\n\n"));
  for (const std::string_view word : kCyrillicWords) openers_.push_back(find(word));
}

void Vocabulary::offer_completion(std::string_view half, TokenId id) {
  auto& list = completions_[pack(half)];
  if (std::find(list.begin(), list.end(), id) == list.end()) list.push_back(id);
}

// A character is completed by the ids that the tokenizer would have used from there on, so that
// tokenising the character finds them again. Only odd openers lead to other splits.
void Vocabulary::link_characters() {
  std::set<std::uint32_t> usual;  // halves at which the tokenizer cuts
  for (const std::string& character : characters_) {
    std::size_t at = 0;
    for (const TokenId id : tokenize(character, false)) {
      if (at == 0) {
        openers_.insert(openers_.end(), 2, id);
        if (bytes(id).size() > 1) {
          odd_openers_.push_back(byte(static_cast<unsigned char>(character[0])));
        }
      } else {
        const auto half = std::string_view(character).substr(0, at);
        usual.insert(pack(half));
        offer_completion(half, id);
      }
      at += bytes(id).size();
    }
  }
  for (const std::string& character : characters_) {
    for (std::size_t at = 1; at < character.size(); ++at) {
      const auto half = std::string_view(character).substr(0, at);
      if (usual.contains(pack(half))) continue;
      offer_completion(half, byte(static_cast<unsigned char>(character[at])));
    }
  }
  openers_.insert(openers_.end(), 6, find(" \xF0\x9F"));
}

std::span<const TokenId> Vocabulary::completions(std::string_view half) const {
  const auto found = completions_.find(pack(half));
  if (found != completions_.end()) return found->second;
  // Half characters that generation never begins itself come from prompts: any legal byte will do.
  constexpr unsigned char kAnySecond[] = {0xA5, 0x95};
  for (const unsigned char candidate : kAnySecond) {
    if (utf8_step(half, candidate) != Utf8Step::kBroken) return {&byte_ids_[candidate], 1};
  }
  return {&byte_ids_[0x80], 1};
}

TokenId Vocabulary::find(std::string_view bytes) const {
  const auto [id, size] = longest(bytes);
  return size == bytes.size() ? id : -1;
}

std::pair<TokenId, std::size_t> Vocabulary::longest(std::string_view text) const {
  std::pair<TokenId, std::size_t> best{-1, 0};
  std::size_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::int16_t high = trie_[node].next[byte >> 4U];
    if (high < 0) break;
    const std::int16_t low = trie_[static_cast<std::size_t>(high)].next[byte & 15U];
    if (low < 0) break;
    node = static_cast<std::size_t>(low);
    if (trie_[node].id >= 0) best = {trie_[node].id, i + 1};
  }
  return best;
}

std::vector<TokenId> Vocabulary::tokenize(std::string_view text, bool parse_special,
                                          bool add_bos) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 2);
  if (add_bos && !(parse_special && text.starts_with(kSpecialNames[kBos]))) ids.push_back(kBos);
  while (!text.empty()) {
    if (parse_special && text[0] == '<') {
      const auto name = std::find_if(kSpecialNames.begin(), kSpecialNames.end(),
                                     [&](std::string_view n) { return text.starts_with(n); });
      if (name != kSpecialNames.end()) {
        ids.push_back(static_cast<TokenId>(name - kSpecialNames.begin()));
        text.remove_prefix(name->size());
        continue;
      }
    }
    const auto [id, size] = longest(text);
    ids.push_back(id);
    text.remove_prefix(size);
  }
  return ids;
}

std::string Vocabulary::detokenize(std::span<const TokenId> ids, bool show_special) const {
  std::string text;
  Utf8Decoder decoder;
  for (const TokenId id : ids) {
    if (special(id)) {
      decoder.finish(text);
      if (show_special) text += bytes(id);
    } else {
      decoder.push(bytes(id), text);
    }
  }
  decoder.finish(text);
  return text;
}

void Utf8Decoder::push(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    Utf8Step step = utf8_step(rest(), byte);
    if (step == Utf8Step::kBroken && size_ != 0) {
      finish(out);
      step = utf8_step({}, byte);
    }
    if (step == Utf8Step::kBroken) {
      out += "\xEF\xBF\xBD";
      continue;
    }
    bytes_[size_++] = c;
    if (step == Utf8Step::kComplete) {
      out.append(bytes_.data(), size_);
      size_ = 0;
    }
  }
}

void Utf8Decoder::finish(std::string& out) {
  if (size_ != 0) out += "\xEF\xBF\xBD";
  size_ = 0;
}

}  // namespace hf::simulator
