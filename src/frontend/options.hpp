// What `holdfast serve` can be told. Defaults are those of docs/configuration.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "core/request_machine.hpp"
#include "http/endpoint.hpp"

namespace hf::frontend {

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
  Duration connect_timeout = std::chrono::seconds(1);
  Duration probe_timeout = std::chrono::milliseconds(400);
  Duration drain_limit = std::chrono::seconds(300);
  std::string version = "dev";
  std::string commit = "unknown";
};

}  // namespace hf::frontend
