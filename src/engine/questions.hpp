// Questions to an engine that take one or more calls: steppers without I/O.
//
//   auto step = question.start();
//   while (auto* call = std::get_if<WireRequest>(&step)) step = question.next(status,
//   body_of(*call));
//   // now an Answer or an Error
//
// A call that could not be made at all (connect, reset, deadline) is the caller's to judge; drop
// the question. Error codes: kHttpStatus (the engine answered with an error status; retry says
// where else), kProtocol (it answered nonsense), kUnsupported (this engine or text cannot be asked
// so), kUnavailable (it is still loading). A question holds copies of what it needs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "core/ledger.hpp"
#include "core/types.hpp"
#include "engine/dialect.hpp"

namespace hf::engine {

template <class Answer>
using Step = std::variant<WireRequest, Answer, Error>;

using Ids = std::vector<core::TokenId>;

/// The prompt's ids, as the client's endpoint makes them. vLLM: /tokenize; llama.cpp:
/// /apply-template (chat) and /tokenize. A prompt given as ids is the answer, without a call.
class AskPromptIds {
 public:
  AskPromptIds(Kind kind, const ClientRequest& request);
  Step<Ids> start();
  Step<Ids> next(int status, std::string_view body);

 private:
  Kind kind_;
  bool known_ = false;
  bool templating_ = false;
  Ids ids_;
  WireRequest call_;
};

/// The text of ids, special tokens included (both engines write them out). A trailing half
/// character reads as U+FFFD. Empty ids: empty text, without a call.
class AskText {
 public:
  AskText(Kind kind, std::string_view model, const Ids& ids);
  Step<std::string> start();
  Step<std::string> next(int status, std::string_view body);

 private:
  Kind kind_;
  bool empty_ = false;
  WireRequest call_;
};

/// Fills places of kUnknownToken: one /tokenize call whose content mixes known ids and gap texts,
/// each text tokenised on its own. The answer is the whole ledger, filled. It is believed only when
/// the number of ids and every known id agree; else kUnsupported. Gaps are in order, disjoint and
/// inside the ledger; every unknown place lies in one. llama.cpp only.
class AskFill {
 public:
  AskFill(Kind kind, const Ids& ledger, const std::vector<core::LedgerGap>& gaps);
  Step<Ids> start();
  Step<Ids> next(int status, std::string_view body);

 private:
  bool fits() const;

  Kind kind_;
  Ids ledger_;
  std::vector<core::LedgerGap> gaps_;
};

}  // namespace hf::engine
