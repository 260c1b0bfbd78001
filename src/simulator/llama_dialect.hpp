// The HTTP API of llama.cpp's server, build b11549, as recorded. Internal to the simulator.
#pragma once

#include "simulator/engine_dialect.hpp"

namespace hf::simulator {

class LlamaDialect final : public EngineDialect {
 public:
  bool generates(std::string_view method, std::string_view path) const override;
  std::expected<GenerateCall, Page> parse(std::string_view path, std::string_view body,
                                          const DialectContext& context) const override;
  Page page(std::string_view method, std::string_view path, std::string_view body,
            const DialectContext& context) const override;
  void head(std::string& out, const Page& page, std::optional<std::size_t> length, bool keep_alive,
            const DialectContext& context) const override;
  bool head_at_once() const override { return false; }
  void open(ApiStream& stream, Random& random, const DialectContext& context) const override;
  void event(ApiStream& stream, Choice& choice, const TokenEvent& token, std::string& out,
             const DialectContext& context) const override;
  void close(ApiStream& stream, std::string& out, const DialectContext& context) const override;
  std::string whole(const ApiStream& stream, const DialectContext& context) const override;
  std::string death_in_stream() const override { return {}; }
  Page refusal(int status) const override;
};

/// {"error":{"code","message","type"}}, with `extra` (",…") before the end.
Page llama_error(int status, std::string_view message, std::string_view type,
                 std::string_view extra = {});

/// The generation_settings object (and, without what only requests have, the params of /props).
struct LlamaSettings {
  double temperature = -1;
  std::int64_t seed = -1;
  std::int64_t n_predict = -1;
  bool ignore_eos = false, stream = false, chat = false, timings_per_token = false;
  std::int64_t n_probs = 0;
  const std::vector<std::string>* stop = nullptr;  // null: the form of /props and /slots
};
void append_llama_settings(std::string& out, const LlamaSettings& settings);

/// {"cache_n":…,"prompt_n":…} of a sequence after `predicted` tokens.
void append_llama_timings(std::string& out, const SequenceView& view, std::int32_t predicted);

}  // namespace hf::simulator
