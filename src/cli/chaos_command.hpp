// `holdfast chaos`: fault tests on real processes.
#pragma once

namespace CLI {
class App;
}

namespace hf::cli {

/// Adds the subcommand; when it is the one that was given, it runs during parsing and sets
/// `exit_code`, which must outlive `app`.
void add_chaos_command(CLI::App& app, int& exit_code);

}  // namespace hf::cli
