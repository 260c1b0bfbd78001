#include "cli/chaos_report_command.hpp"

#include <cstdio>
#include <memory>
#include <string>

#include "chaos/report.hpp"

namespace hf::cli {
namespace {

int report(const std::string& folder) {
  const auto results = chaos::write_reports(folder);
  if (!results) {
    std::fprintf(stderr, "holdfast chaos report: %s\n", results.error().detail.c_str());
    return 2;
  }
  for (const auto& result : *results) {
    std::printf("%-4s %s/%s.html\n", chaos::to_string(result.verdict), folder.c_str(),
                result.scenario.c_str());
  }
  std::printf("     %s/index.html\n", folder.c_str());
  return 0;
}

}  // namespace

void add_chaos_report_command(CLI::App& app, int& exit_code) {
  const auto found =
      app.get_subcommands([](const CLI::App* command) { return command->get_name() == "chaos"; });
  auto* chaos =
      found.empty() ? app.add_subcommand("chaos", "Fault tests on real processes") : found.front();
  chaos->require_subcommand(1);
  auto folder = std::make_shared<std::string>();
  auto* command =
      chaos->add_subcommand("report", "Writes the HTML pages of a run from its result files");
  command->add_option("folder", *folder, "where `holdfast chaos run --out` put them")->required();
  command->footer(
      "Example: holdfast chaos report build/chaos\nExit status: 0, or 2 where a file is "
      "no result.");
  command->callback([folder, &exit_code] { exit_code = report(*folder); });
}

}  // namespace hf::cli
