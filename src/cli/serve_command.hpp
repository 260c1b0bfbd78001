// `holdfast serve`: flags, environment and their checks.
#pragma once

#include <CLI/CLI.hpp>

namespace hf::cli {
void add_serve_command(CLI::App& app, int& exit_code);
}  // namespace hf::cli
