// `holdfast config check`: what `serve` would run with, and where each value comes from.
#pragma once

#include <CLI/CLI.hpp>

namespace hf::cli {
void add_config_command(CLI::App& app, int& exit_code);
}  // namespace hf::cli
