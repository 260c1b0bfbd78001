// The flags of `serve` and `config check`, made from the table of keys, and what else a
// configuration is read from.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "config/load.hpp"

namespace hf::cli {

/// Filled by CLI11 when it parses. Must outlive the app it was added to.
struct ConfigFlags {
  std::string file;  // --config
  std::map<std::string, std::vector<std::string>> values;
  std::vector<std::pair<std::string, CLI::Option*>> options;  // by key
};

/// Adds --config and a flag for each key.
void add_config_flags(CLI::App& app, ConfigFlags& flags);

/// Reads file and environment anew at each call. Error: the file cannot be read.
Result<config::Sources> read_sources(const ConfigFlags& flags);

/// Each problem and warning on a line of standard error, behind "holdfast COMMAND: ".
void print_findings(const config::Loaded& loaded, const char* command);

}  // namespace hf::cli
