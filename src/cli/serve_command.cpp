#include "cli/serve_command.hpp"

#include <cstdio>
#include <memory>

#include "cli/config_flags.hpp"
#include "cli/version.hpp"
#include "frontend/server.hpp"

namespace hf::cli {
namespace {

constexpr const char* kExamples = R"(
Examples:
  holdfast serve --engine http://10.0.0.1:8000 --engine http://10.0.0.2:8000
  holdfast serve --engine http://127.0.0.1:8081 --engine http://127.0.0.1:8082 \
      --listen 0.0.0.0:8000 --access-log -
  HOLDFAST_SYSTEM_PORT=9190 holdfast serve --engine http://127.0.0.1:8081
  holdfast serve --config holdfast.yaml

Engines may be vLLM, llama.cpp (dialects with token ids: a failure costs a pause) or anything that
speaks the OpenAI API (a failure before the first token costs a pause). One that is down at start
joins when it comes up.)";

Result<frontend::Reloaded> reload(const ConfigFlags& flags, const frontend::ServeOptions& running) {
  const auto sources = read_sources(flags);
  if (!sources) return fail(sources.error().code, "holdfast serve: " + sources.error().detail);
  const auto loaded = config::load(*sources);
  if (loaded.ok()) {
    print_findings(loaded, "serve");
    return config::merge(running, loaded.options);
  }
  std::string problems;
  for (const auto& problem : loaded.problems)
    problems += (problems.empty() ? "holdfast serve: " : "\nholdfast serve: ") + problem;
  return fail(Code::kBadInput, problems);
}

int run(const ConfigFlags& flags) {
  const auto sources = read_sources(flags);
  if (!sources) {
    std::fprintf(stderr, "holdfast serve: %s\n", sources.error().detail.c_str());
    return 2;
  }
  auto loaded = config::load(*sources);
  print_findings(loaded, "serve");
  if (!loaded.ok()) return 2;
  loaded.options.version = version();
  loaded.options.commit = commit();
  const auto again = [&flags](const auto& running) { return reload(flags, running); };
  if (auto served = frontend::run_server(loaded.options, again); !served) {
    std::fprintf(stderr, "holdfast serve: %s\n", served.error().detail.c_str());
    return 1;
  }
  return 0;
}

}  // namespace

void add_serve_command(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<ConfigFlags>();
  auto* serve = app.add_subcommand("serve", "OpenAI-compatible frontend that survives its engines");
  serve->footer(kExamples);
  add_config_flags(*serve, *flags);
  serve->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace hf::cli
