// What `holdfast serve` can be told. Defaults are those of docs/configuration.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "core/request_machine.hpp"
#include "http/endpoint.hpp"

namespace hf::frontend {

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

struct ServeOptions {
  std::vector<http::Endpoint> engines;
  std::string listen = "127.0.0.1:8000";
  std::string system_host = "127.0.0.1";
  std::uint16_t system_port = 9090;
  std::string routing = "least-loaded";
  std::size_t data_cores = 2;
  std::string access_log;  // empty: none; "-": standard output
  std::string port_file;   // empty: none
  std::int64_t resume_prefill_tokens_max = 65'536;
  core::MigrationOptions migration;
  std::int64_t continuation_bytes_max = std::int64_t{1024} * 1024 * 1024;
  LimitOptions limits;
  Duration connect_timeout = std::chrono::seconds(1);
  Duration probe_timeout = std::chrono::milliseconds(400);
  Duration drain_limit = std::chrono::seconds(300);
  std::string version = "dev";
  std::string commit = "unknown";
};

}  // namespace hf::frontend
