// Right or wrong: one client's answer beside the one of an untouched engine.
//
// The judge errs on the strict side. Whatever looks whole must be equal in text, finish reason,
// usage, role and framing; whatever is not whole must be a prefix, and must not look whole.
#pragma once

#include <string>
#include <vector>

#include "chaos/transcript.hpp"

namespace hf::chaos {

struct Judgement {
  /// complete | stopped | error | cut | refused | client_gone | wrong
  std::string outcome;
  std::string detail;  // for cut, refused and wrong: what exactly
};

struct JudgeOptions {
  /// Real llama.cpp puts another `created` into each second's events.
  bool same_created = true;
};

/// `want` must itself be whole: an unfinished reference makes every answer wrong.
Judgement judge(const Transcript& got, const Transcript& want, const JudgeOptions& options);

/// What a client could tell from the untouched answer; empty: nothing.
std::vector<std::string> differences(const Transcript& got, const Transcript& want,
                                     const JudgeOptions& options);

/// Whether a transcript looks like the whole answer to a client.
bool looks_whole(const Transcript& transcript);

}  // namespace hf::chaos
