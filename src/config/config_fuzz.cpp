// Any file: read or refused with its line, and what was read can be told and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "config/load.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  hf::config::Sources sources;
  sources.file_name = "f";
  sources.file_text.assign(reinterpret_cast<const char*>(bytes), size);
  const auto loaded = hf::config::load(sources);
  if (loaded.ok() == loaded.options.engines.empty() && loaded.ok()) std::abort();
  if (hf::config::describe(loaded).empty()) std::abort();
  if (!loaded.ok()) return 0;
  const auto again = hf::config::load(sources);
  const auto merged = hf::config::merge(loaded.options, again.options);
  if (!merged.applied.empty() || !merged.needs_restart.empty()) std::abort();
  return 0;
}
