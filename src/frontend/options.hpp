// What `holdfast serve` can be told. The keys that set these fields, their texts and bounds are the
// table in src/config/keys.cpp; defaults are those of docs/configuration.md, which it generates.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "core/request_machine.hpp"
#include "http/endpoint.hpp"

namespace hf::frontend {

/// One entry of `engines`.
struct EngineOptions {
  http::Endpoint endpoint;
  std::string api_key_env;  // the variable that holds its key; empty: none

  bool operator==(const EngineOptions&) const = default;
};

/// `models.NAME`: what differs for one model. Unset: the key of the same name for all.
struct ModelOptions {
  std::vector<std::string> fallback;  // models to try before the first token, in order
  std::optional<Duration> admission_hold;
  std::optional<Duration> first_token_limit;
  std::optional<Duration> token_limit;
  std::optional<bool> text;  // mode `text` for this model, or not
};

/// `limits`: 0 is no limit where it is a number of things.
struct LimitOptions {
  std::int64_t body_bytes_max = std::int64_t{32} * 1024 * 1024;
  std::int64_t header_bytes_max = std::int64_t{64} * 1024;
  std::int64_t connections_max = 16'384;
  std::int64_t running_max = 8'192;
  Duration idle_timeout = std::chrono::seconds(75);         // before a request
  Duration header_timeout = std::chrono::seconds(10);       // from its first byte to the head's end
  Duration body_timeout = std::chrono::seconds(30);         // for each 16 KiB of a body
  Duration slow_client_timeout = std::chrono::seconds(30);  // without a byte of the answer taken
};

struct CanaryOptions {
  bool enabled = false;  // true in Kubernetes
  Duration wait_time = std::chrono::seconds(10);
  Duration timeout = std::chrono::seconds(3);
};

enum class OnDisconnect : std::uint8_t { kKill, kStop, kFinish };
enum class Auth : std::uint8_t { kNone, kPassthrough };

struct ServeOptions {
  std::vector<EngineOptions> engines;
  std::map<std::string, ModelOptions, std::less<>> models;
  std::string listen = "127.0.0.1:8000";
  std::string system_host = "127.0.0.1";
  std::uint16_t system_port = 9090;
  std::string admin = "127.0.0.1:9091";
  std::string admin_token;  // a secret
  std::string routing = "least-loaded";
  std::string session_key = "x-user-id";
  std::size_t data_cores = 2;
  std::string access_log;                          // empty: none; "-": standard output
  std::string port_file;                           // empty: none
  bool warn_of_unknown_keys = false;               // config.unknown: warn
  std::vector<std::string> proxy_paths = {"all"};  // other endpoints
  Auth auth = Auth::kNone;
  std::vector<std::string> trusted_proxies;
  OnDisconnect on_disconnect = OnDisconnect::kKill;

  std::int64_t resume_prefill_tokens_max = 65'536;
  std::int64_t admission_queue_max = 1'000;                                  // requests
  std::int64_t admission_queue_bytes_max = std::int64_t{256} * 1024 * 1024;  // their bodies
  core::MigrationOptions migration;
  std::int64_t continuation_bytes_max = std::int64_t{1024} * 1024 * 1024;
  bool inject_seed = false;  // continuation.inject_seed: exact
  LimitOptions limits;
  CanaryOptions canary;
  std::optional<double> active_decode_blocks_threshold;  // 0…1
  std::optional<std::int64_t> active_prefill_tokens_threshold;

  Duration connect_timeout = std::chrono::seconds(1);
  Duration probe_timeout = std::chrono::milliseconds(400);
  Duration lame_duck{};  // 5 s in Kubernetes
  Duration drain_limit = std::chrono::seconds(300);
  std::string version = "dev";  // not keys
  std::string commit = "unknown";
};

/// What a reload of the configuration found.
struct Reloaded {
  ServeOptions options;              // what runs, with the applied keys changed
  std::vector<std::string> applied;  // "admission.hold: 5s -> 7s"
  std::vector<std::string> needs_restart;
};

}  // namespace hf::frontend
