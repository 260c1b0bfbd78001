// vLLM 0.32's HTTP API, as recorded. Internal to the simulator.
#pragma once

#include "simulator/engine_dialect.hpp"

namespace hf::simulator {

class VllmDialect : public EngineDialect {
 public:
  bool generates(std::string_view method, std::string_view path) const override;
  std::expected<GenerateCall, Page> parse(std::string_view path, std::string_view body,
                                          const DialectContext& context) const override;
  Page page(std::string_view method, std::string_view path, std::string_view body,
            const DialectContext& context) const override;
  void head(std::string& out, const Page& page, std::optional<std::size_t> length, bool keep_alive,
            const DialectContext& context) const override;
  bool head_at_once() const override { return true; }
  void open(ApiStream& stream, Random& random, const DialectContext& context) const override;
  void event(ApiStream& stream, Choice& choice, const TokenEvent& token, std::string& out,
             const DialectContext& context) const override;
  void close(ApiStream& stream, std::string& out, const DialectContext& context) const override;
  std::string whole(const ApiStream& stream, const DialectContext& context) const override;
  std::string death_in_stream() const override;
  Page refusal(int status) const override;
};

/// {"error":{"message","type","param","code"}}; an empty `param` is null.
Page vllm_error(int status, std::string_view message, std::string_view type,
                std::string_view param = {});
Page vllm_metrics(const DialectContext& context);
std::string_view vllm_finish_name(Finish finish, const GenerateCall& call);

inline constexpr std::string_view kVllmFingerprint = "vllm-0.32.0-92ce0c24";

}  // namespace hf::simulator
