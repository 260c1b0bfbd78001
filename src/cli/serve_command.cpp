#include "cli/serve_command.hpp"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/version.hpp"
#include "frontend/server.hpp"
#include "routing/policy.hpp"

namespace hf::cli {
namespace {

constexpr const char* kExamples = R"(
Examples:
  holdfast serve --engine http://10.0.0.1:8000 --engine http://10.0.0.2:8000
  holdfast serve --engine http://127.0.0.1:8081 --engine http://127.0.0.1:8082 \
      --listen 0.0.0.0:8000 --access-log -
  HOLDFAST_SYSTEM_PORT=9190 holdfast serve --engine http://127.0.0.1:8081

Engines may be vLLM, llama.cpp (dialects with token ids: a failure costs a pause) or anything that
speaks the OpenAI API (a failure before the first token costs a pause). One that is down at start
joins when it comes up.)";

struct Flags {
  std::vector<std::string> engines;
  std::string listen = "127.0.0.1:8000";
  int system_port = 9090;
  std::string admin = "127.0.0.1:9091";
  std::string routing = "least-loaded";
  std::string session_key;
  std::size_t data_cores = 2;
  std::string access_log;
  std::string port_file;
  std::string modes = "restart,tokens";
  std::string identity = "prefer";
  double admission_hold = 5;
  double resume_hold = 60;
  std::int64_t prefill_max = 65'536;
  std::int64_t bytes_max = std::int64_t{1} << 30;
  frontend::LimitOptions limits;
  double idle_timeout = 75;
  double header_timeout = 10;
  double body_timeout = 30;
  double slow_client_timeout = 30;
};

Duration from_seconds(double value) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value));
}

Result<void> read_modes(const std::string& text, core::MigrationOptions& migration) {
  migration.restart = false;
  migration.tokens = false;
  std::size_t at = 0;
  while (at <= text.size()) {
    const auto comma = std::min(text.find(',', at), text.size());
    const auto word = text.substr(at, comma - at);
    if (word == "restart") {
      migration.restart = true;
    } else if (word == "tokens") {
      migration.tokens = true;
    } else if (!word.empty()) {
      return fail(Code::kBadInput,
                  "--continuation-modes: unknown mode '" + word +
                      "'; give restart, tokens, both (restart,tokens) or an empty list");
    }
    at = comma + 1;
  }
  return {};
}

Result<frontend::ServeOptions> to_options(const Flags& flags) {
  frontend::ServeOptions options;
  for (const auto& text : flags.engines) {
    auto url = http::parse_url(text);
    if (!url) return fail(url.error().code, "--engine " + text + ": " + url.error().detail);
    if (!url->path.empty()) {
      return fail(Code::kUnsupported,
                  "--engine " + text + ": a path prefix is not supported; give http://host:port");
    }
    for (const auto& known : options.engines) {
      if (known == url->endpoint)
        return fail(Code::kBadInput, "--engine " + text + " is given twice");
    }
    options.engines.push_back(url->endpoint);
  }
  if (auto policy = routing::make_policy(flags.routing, {}); !policy) {
    return fail(policy.error().code, "--routing: " + policy.error().detail);
  }
  if (auto done = read_modes(flags.modes, options.migration); !done)
    return std::unexpected(done.error());
  if (flags.identity != "strict" && flags.identity != "prefer") {
    return fail(Code::kBadInput,
                "--continuation-identity: '" + flags.identity + "'; choose prefer or strict");
  }
  if (auto admin = http::parse_endpoint(flags.admin); !admin) {
    return fail(admin.error().code, "--admin: " + admin.error().detail);
  }
  options.listen = flags.listen;
  options.system_port = static_cast<std::uint16_t>(flags.system_port);
  options.routing = flags.routing;
  options.data_cores = flags.data_cores;
  options.access_log = flags.access_log;
  options.port_file = flags.port_file;
  options.migration.strict_identity = flags.identity == "strict";
  options.migration.admission_hold = from_seconds(flags.admission_hold);
  options.migration.resume_hold = from_seconds(flags.resume_hold);
  options.resume_prefill_tokens_max = flags.prefill_max;
  options.continuation_bytes_max = flags.bytes_max;
  options.limits = flags.limits;
  options.limits.idle_timeout = from_seconds(flags.idle_timeout);
  options.limits.header_timeout = from_seconds(flags.header_timeout);
  options.limits.body_timeout = from_seconds(flags.body_timeout);
  options.limits.slow_client_timeout = from_seconds(flags.slow_client_timeout);
  options.version = version();
  options.commit = commit();
  return options;
}

int run(const Flags& flags) {
  auto options = to_options(flags);
  if (!options) {
    std::fprintf(stderr, "holdfast serve: %s\n", options.error().detail.c_str());
    return 2;
  }
  if (!flags.session_key.empty()) {
    std::fprintf(stderr, "holdfast serve: --session-key has no effect with --routing %s\n",
                 flags.routing.c_str());
  }
  if (auto served = frontend::run_server(*options); !served) {
    std::fprintf(stderr, "holdfast serve: %s\n", served.error().detail.c_str());
    return 1;
  }
  return 0;
}

void add_continuation_flags(CLI::App& serve, Flags& flags) {
  serve
      .add_option("--continuation-modes", flags.modes,
                  "how broken requests may go on: restart, tokens; empty turns migration off")
      ->envname("HOLDFAST_CONTINUATION_MODES")
      ->capture_default_str();
  serve
      .add_option("--continuation-identity", flags.identity,
                  "prefer: another build of an engine may go on (told as approximate); strict: "
                  "only the same")
      ->envname("HOLDFAST_CONTINUATION_IDENTITY")
      ->capture_default_str();
  serve
      .add_option("--admission-hold", flags.admission_hold,
                  "seconds that a new request waits for a worker")
      ->envname("HOLDFAST_ADMISSION_HOLD")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  serve
      .add_option("--resume-hold", flags.resume_hold,
                  "seconds that a started stream waits for a worker")
      ->envname("HOLDFAST_RESUME_HOLD")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  serve
      .add_option("--resume-prefill-tokens-max", flags.prefill_max,
                  "prefill of continuations outstanding on one worker, tokens")
      ->envname("HOLDFAST_RESUME_PREFILL_TOKENS_MAX")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->capture_default_str();
}

void add_limit_flags(CLI::App& serve, Flags& flags) {
  const auto number = [&](const char* flag, const char* variable, std::int64_t& to,
                          const char* text, std::int64_t least) {
    serve.add_option(flag, to, text)
        ->envname(variable)
        ->check(CLI::Range(least, std::int64_t{1} << 40))
        ->capture_default_str();
  };
  const auto time = [&](const char* flag, const char* variable, double& to, const char* text) {
    serve.add_option(flag, to, text)
        ->envname(variable)
        ->check(CLI::Range(0.01, 86'400.0))
        ->capture_default_str();
  };
  number("--continuation-bytes-max", "HOLDFAST_CONTINUATION_BYTES_MAX", flags.bytes_max,
         "bodies and ledgers of all requests, bytes; above it new ones are shed", 1024);
  number("--limits-connections-max", "HOLDFAST_LIMITS_CONNECTIONS_MAX",
         flags.limits.connections_max, "connections of clients; 0: no limit", 0);
  number("--limits-running-max", "HOLDFAST_LIMITS_RUNNING_MAX", flags.limits.running_max,
         "requests in progress; 0: no limit", 0);
  number("--limits-body-bytes-max", "HOLDFAST_LIMITS_BODY_BYTES_MAX", flags.limits.body_bytes_max,
         "a request body", 1024);
  number("--limits-header-bytes-max", "HOLDFAST_LIMITS_HEADER_BYTES_MAX",
         flags.limits.header_bytes_max, "a request head", 1024);
  time("--limits-idle-timeout", "HOLDFAST_LIMITS_IDLE_TIMEOUT", flags.idle_timeout,
       "seconds that a connection may wait for its next request");
  time("--limits-header-timeout", "HOLDFAST_LIMITS_HEADER_TIMEOUT", flags.header_timeout,
       "seconds from a request's first byte to the end of its head");
  time("--limits-body-timeout", "HOLDFAST_LIMITS_BODY_TIMEOUT", flags.body_timeout,
       "seconds for each 16 KiB of a body");
  time("--limits-slow-client-timeout", "HOLDFAST_LIMITS_SLOW_CLIENT_TIMEOUT",
       flags.slow_client_timeout, "seconds without a byte taken of what is to be read");
}

}  // namespace

void add_serve_command(CLI::App& app, int& exit_code) {
  auto flags = std::make_shared<Flags>();
  auto* serve = app.add_subcommand("serve", "OpenAI-compatible frontend that survives its engines");
  serve->footer(kExamples);
  serve
      ->add_option("--engine", flags->engines,
                   "an engine's URL, http://host:port; give it for each engine")
      ->required()
      ->envname("HOLDFAST_ENGINE")
      ->delimiter(',');
  serve->add_option("--listen", flags->listen, "where clients connect; port 0 takes a free one")
      ->envname("HOLDFAST_LISTEN")
      ->capture_default_str();
  serve
      ->add_option("--system-port", flags->system_port,
                   "/live, /ready, /health, /metrics on 127.0.0.1; 0 takes a free one")
      ->envname("HOLDFAST_SYSTEM_PORT")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  serve
      ->add_option("--admin", flags->admin,
                   "address of the admin API (accepted; nothing is served there yet)")
      ->envname("HOLDFAST_ADMIN")
      ->capture_default_str();
  serve->add_option("--routing", flags->routing, "least-loaded or round-robin")
      ->envname("HOLDFAST_ROUTING")
      ->capture_default_str();
  serve
      ->add_option("--session-key", flags->session_key,
                   "header of a session (accepted; no effect yet)")
      ->envname("HOLDFAST_SESSION_KEY");
  serve->add_option("--data-cores", flags->data_cores, "threads that serve clients")
      ->envname("HOLDFAST_DATA_CORES")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  serve
      ->add_option("--access-log", flags->access_log,
                   "a JSON line a request goes to this file; - is standard output")
      ->envname("HOLDFAST_ACCESS_LOG");
  serve->add_option("--port-file", flags->port_file,
                    "write {\"listen\":PORT,\"system\":PORT} there when listening");
  add_continuation_flags(*serve, *flags);
  add_limit_flags(*serve, *flags);
  serve->callback([flags, &exit_code] { exit_code = run(*flags); });
}

}  // namespace hf::cli
