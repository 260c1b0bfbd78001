#include "cli/engine_command.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "engine_server/engine_server.hpp"

namespace hf::cli {
namespace {

struct EngineFlags {
  engine_server::EngineServerOptions options;
  std::string dialect = "vllm";
  double itl_ms = 20;
  double ttft_ms = 20;
};

constexpr const char* kExamples =
    "Examples:\n"
    "  holdfast engine --listen 127.0.0.1:8001\n"
    "  holdfast engine --dialect llama.cpp --slots 4 --listen 127.0.0.1:0 --port-file /tmp/port\n"
    "  curl -d '{\"kind\":\"die\",\"how\":\"sigkill\",\"after_tokens\":40}' "
    "http://127.0.0.1:8001/sim/fault\n"
    "  curl http://127.0.0.1:8001/sim/stats\n";

Duration from_ms(double ms) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

void add_model_flags(CLI::App& command, EngineFlags& flags) {
  auto& engine = flags.options.api.engine;
  engine.prefill_tokens_per_s = 20'000;
  command.add_option("--itl-ms", flags.itl_ms, "time of one decode step, ms")
      ->check(CLI::Range(0.01, 1e6))
      ->capture_default_str();
  command.add_option("--ttft-ms", flags.ttft_ms, "fixed part of the time to the first token, ms")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command.add_option("--prefill-tokens-per-s", engine.prefill_tokens_per_s, "speed of prefill")
      ->check(CLI::Range(1.0, 1e9))
      ->capture_default_str();
  command.add_option("--slots", engine.slots, "sequences at once; 0: 256 (vllm), 4 (llama.cpp)")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command.add_option("--max-model-len", engine.model_len, "prompt and answer together, tokens")
      ->check(CLI::Range(16, 1 << 20))
      ->capture_default_str();
  command.add_option("--kv-tokens", engine.kv_tokens_max, "tokens that fit into the KV cache")
      ->check(CLI::Range(16, 1 << 30))
      ->capture_default_str();
  command.add_option("--eos-every", engine.eos_every, "mean tokens between EOS; 0: never")
      ->capture_default_str();
  command.add_option("--seed", engine.seed, "seed of sampled requests that bring none")
      ->capture_default_str();
  command.add_option("--variant", engine.variant, "another number: another model, other tokens")
      ->capture_default_str();
  command
      .add_option("--odd-characters-every", engine.odd_characters_every,
                  "about every n-th token begins a character that the tokenizer would split "
                  "otherwise; 0: none")
      ->capture_default_str();
  command.add_flag("--prefix-cache", engine.prefix_cache, "prompts seen before cost no prefill");
  command.add_flag("--greedy-always", engine.greedy_always, "ignore the temperature");
  command.add_flag("--eos-before-final", engine.eos_before_final, "EOS in an event of its own");
  command.add_flag("--add-bos", engine.add_bos, "the tokenizer puts <|bos|> in front");
}

void run(EngineFlags& flags, int& exit_code) {
  auto& engine = flags.options.api.engine;
  const bool llama = flags.dialect == "llama.cpp";
  engine.dialect = llama ? simulator::Dialect::kLlama : simulator::Dialect::kVllm;
  if (flags.dialect == "openai" || flags.dialect == "sglang") {
    flags.options.api.plain_as = flags.dialect;
  }
  engine.itl = from_ms(flags.itl_ms);
  engine.ttft = from_ms(flags.ttft_ms);
  flags.options.api.other_endpoints = true;
  exit_code = engine_server::run_engine(flags.options);
}

}  // namespace

void add_engine_command(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<EngineFlags>();
  CLI::App* command = app.add_subcommand(
      "engine", "A simulated engine: right or wrong tokens, never plausible ones");
  command->add_option("--listen", flags->options.listen, "host:port to serve on; port 0: any")
      ->capture_default_str();
  command->add_option("--dialect", flags->dialect, "whose HTTP API it speaks")
      ->check(CLI::IsMember({"vllm", "llama.cpp", "openai", "sglang"}))
      ->capture_default_str();
  command->add_option("--model", flags->options.api.model, "name in /v1/models")
      ->capture_default_str();
  command
      ->add_option("--poison-after", flags->options.api.poison_after,
                   "tokens of a request with <<poison>> before the process dies")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--api-key", flags->options.api.api_key,
                      "answer 401 without Authorization: Bearer KEY, as the real engines do");
  command->add_option("--lora", flags->options.api.loras,
                      "name of an adapter that /v1/models lists (vllm); may be repeated");
  command->add_flag("--images", flags->options.api.images, "takes image_url parts, as a VLM does");
  command
      ->add_option("--reasoning-tokens", flags->options.api.reasoning_tokens,
                   "so many first tokens of a chat answer are reasoning")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("--port-file", flags->options.port_file,
                      "gets the port once the engine answers");
  add_model_flags(*command, *flags);
  command->footer(kExamples);
  command->callback([flags, &exit_code] { run(*flags, exit_code); });
}

}  // namespace hf::cli
