// The HTML of a run: a page a scenario that one looks at, and a table of all of them.
//
// A page is one file: styles, script and data are inside, nothing is fetched. Everything that comes
// from a result is escaped. One lane a stream, tokens as ticks coloured by engine, faults as bars,
// pauses to scale; the tables below it need no script.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "chaos/result.hpp"

namespace hf::chaos {

/// At most so many lanes are drawn: those that went wrong or were hit come first. The figures are
/// always those of all streams.
inline constexpr std::size_t kLanesMax = 300;
/// And so many ticks.
inline constexpr std::size_t kTicksMax = 200'000;

std::string render_report(const ChaosResult& result);

/// The page of a whole run; links to SCENARIO.html beside it.
std::string render_index(std::span<const ChaosResult> results);

/// Writes SCENARIO.html for every result file of `folder`, and its index.html. Returns the results,
/// by scenario. Errors: no such folder, no result file in it, one that does not parse, no write.
Result<std::vector<ChaosResult>> write_reports(const std::filesystem::path& folder);

}  // namespace hf::chaos
