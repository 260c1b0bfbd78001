#include <csignal>
#include <cstdio>
#include <ctime>
#include <string>
#include <utility>

#include "engine_server/engine_server.hpp"
#include "net/clock.hpp"
#include "net/process_signals.hpp"

namespace hf::engine_server {
namespace {

// Whole or not at all: who waits for the file must not read half a number.
bool write_port_file(const std::string& path, std::uint16_t port) {
  const std::string next = path + ".next";
  std::FILE* file = std::fopen(next.c_str(), "w");
  if (file == nullptr) return false;
  const bool is_written = std::fprintf(file, "%u\n", port) > 0;
  const bool is_closed = std::fclose(file) == 0;
  return is_written && is_closed && std::rename(next.c_str(), path.c_str()) == 0;
}

net::Task<void> end_on_signal(net::Core* core, net::ProcessSignals* signals, EngineServer* server) {
  if (co_await signals->wait() != 0) co_await server->shut_down();
  core->stop();
}

}  // namespace

int run_engine(const EngineServerOptions& options) {
  net::ignore_sigpipe();
  net::Core core("engine");
  net::ProcessSignals signals(core, {SIGTERM, SIGINT});
  int exit_code = 0;

  auto api = options.api;
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(net::now() - Instant{});
  api.unix_at_zero_s = std::time(nullptr) - uptime.count();
  EngineServer server(core, std::move(api), [&](simulator::ProcessAction action) {
    if (action == simulator::ProcessAction::kSigkill) std::raise(SIGKILL);
    exit_code = 1;
    core.stop();
  });

  const auto bound = server.listen(options.listen);
  if (!bound) {
    std::fprintf(stderr, "holdfast engine: %s\n", bound.error().detail.c_str());
    return 1;
  }
  if (!options.port_file.empty() && !write_port_file(options.port_file, bound->port)) {
    std::fprintf(stderr, "holdfast engine: cannot write %s; choose another with --port-file\n",
                 options.port_file.c_str());
    return 1;
  }
  const bool is_vllm = options.api.engine.dialect == simulator::Dialect::kVllm;
  std::printf("holdfast engine: listening on %s dialect=%s model=%s\n", bound->to_string().c_str(),
              is_vllm ? "vllm" : "llama.cpp", options.api.model.c_str());
  std::fflush(stdout);

  core.spawn(end_on_signal(&core, &signals, &server), "signals");
  core.run();
  return exit_code;
}

}  // namespace hf::engine_server
