// The simulated engine's endpoints besides chat, completions and pages: embeddings, rerank, audio,
// responses, messages. Answers are functions of the request and the model, so that two engines of
// one model answer with the same bytes. Internal to the simulator.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simulator/engine_dialect.hpp"

namespace hf::simulator {

struct OtherAnswer {
  Page page;                        // an answer with a length, unless:
  std::vector<std::string> pieces;  // parts of a body that comes in chunks, one a decode step
};

/// nullopt: no such endpoint. `variant` is the model's.
std::optional<OtherAnswer> other_answer(const EngineCall& call, std::string_view path,
                                        const EngineApiOptions& options);

/// The head of an answer in chunks.
std::string chunked_head(std::string_view content_type, bool keep_alive);

}  // namespace hf::simulator
