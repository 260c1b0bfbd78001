// Result files in, pages out.
#include <algorithm>
#include <fstream>
#include <sstream>

#include "chaos/report.hpp"
#include "chaos/result_reader.hpp"

namespace hf::chaos {
namespace {

namespace fs = std::filesystem;

Result<std::string> read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  if (!in || !bytes) return fail(Code::kSystem, "cannot read " + path.string());
  return bytes.str();
}

Result<void> write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) return fail(Code::kSystem, "cannot write " + path.string() + "; is the disk full?");
  return {};
}

Result<std::vector<ChaosResult>> read_results(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".json") files.push_back(it->path());
  }
  if (error) return fail(Code::kNotFound, folder.string() + ": " + error.message());
  std::ranges::sort(files);
  std::vector<ChaosResult> results;
  for (const auto& file : files) {
    const auto text = read_file(file);
    if (!text) return std::unexpected(text.error());
    auto result = from_json(*text);
    if (!result) return fail(Code::kBadInput, file.string() + ": " + result.error().detail);
    // The page is named like the file that it was made of, whatever the file says.
    result->scenario = file.stem().string();
    results.push_back(*std::move(result));
  }
  if (results.empty()) {
    return fail(Code::kNotFound, folder.string() +
                                     " has no result file; `holdfast chaos run FILE --out " +
                                     folder.string() + "` makes one");
  }
  return results;
}

}  // namespace

Result<std::vector<ChaosResult>> write_reports(const fs::path& folder) {
  auto results = read_results(folder);
  if (!results) return results;
  for (const auto& result : *results) {
    const auto written = write_file(folder / (result.scenario + ".html"), render_report(result));
    if (!written) return std::unexpected(written.error());
  }
  const auto written = write_file(folder / "index.html", render_index(*results));
  if (!written) return std::unexpected(written.error());
  return results;
}

}  // namespace hf::chaos
