// Stop strings over text that comes from two engines in turn.
//
// The second engine sees only its own text, so a stop string that begins in the first one's tail
// would be missed. After a resume all text runs through here; what may be the beginning of a stop
// string is held back, as engines do.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hf::core {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  struct Output {
    std::string text;       // may be sent now
    bool stopped = false;   // a stop string was found; `text` ends before it
    std::string_view stop;  // which one
  };
  /// Takes more text. After `stopped`, takes nothing any more. `may_stop` false (fewer tokens than
  /// min_tokens): a stop string that ends in this text is plain text.
  Output push(std::string_view text, bool may_stop = true);
  /// The engine ended its text before a stop string of its own, one of ours. Together with what is
  /// held back there may be an earlier one: then `stopped`, and what is held is gone. The last
  /// `own_bytes` of all text are that engine's: one that began there it would have found itself.
  /// `found`: its stop string, empty where it is not told.
  Output push_stop(std::size_t own_bytes, std::string_view found = {});
  /// The end of the answer without a stop string: what was held back.
  std::string flush();
  void reset() { held_.clear(); }
  /// llama.cpp holds back all that it has not sent while the tail may become a stop string, not
  /// only that tail. It shows where it drops what it holds.
  void hold_all(bool value) { hold_all_ = value; }
  bool holds() const { return !held_.empty(); }

 private:
  std::size_t tail_to_hold() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool hold_all_ = false;
};

}  // namespace hf::core
