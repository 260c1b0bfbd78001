// `holdfast chaos report`: the pages of a run, made again from its result files.
#pragma once

#include <CLI/CLI.hpp>

namespace hf::cli {
/// Adds it to the subcommand `chaos`, which is made if it is not there yet.
void add_chaos_report_command(CLI::App& app, int& exit_code);
}  // namespace hf::cli
