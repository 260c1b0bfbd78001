// The one binary: subcommands only, everything else is theirs.
#include <CLI/CLI.hpp>
#include <string>

#include "cli/chaos_command.hpp"
#include "cli/chaos_report_command.hpp"
#include "cli/config_command.hpp"
#include "cli/engine_command.hpp"
#include "cli/serve_command.hpp"
#include "cli/sim_command.hpp"
#include "cli/version.hpp"

int main(int argc, char** argv) {
  CLI::App app{"Holdfast makes a fleet of LLM engines look like one engine that never dies."};
  app.set_version_flag(
      "--version", std::string("holdfast ") + hf::cli::version() + " (" + hf::cli::commit() + ")");
  app.require_subcommand(1);
  app.footer("Each subcommand has its own --help, with examples.");
  int exit_code = 0;
  hf::cli::add_serve_command(app, exit_code);
  hf::cli::add_config_command(app, exit_code);
  hf::cli::add_engine_command(app, exit_code);
  hf::cli::add_sim_command(app, exit_code);
  hf::cli::add_chaos_command(app, exit_code);
  hf::cli::add_chaos_report_command(app, exit_code);
  CLI11_PARSE(app, argc, argv);
  return exit_code;
}
