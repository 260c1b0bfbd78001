// Several scenarios in one call of `holdfast chaos run`: each in a process of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "chaos/result.hpp"

namespace hf::chaos {

struct SessionOptions {
  std::vector<std::string> paths;  // files, or folders of *.yaml
  std::string out;  // for JSON, JUnit and logs; empty: nothing is kept of what passes
  bool is_long = false;
  std::uint64_t seed = 1;
  int repeat = 1;
  int jobs = 1;  // scenarios at a time
  std::string commit;
};

/// Exit status: 0 all pass, 1 one failed, 2 a bad file (nothing was run), 3 one was void and none
/// failed, 130 interrupted.
int run_session(const SessionOptions& options);

/// The *.yaml files of files and folders, sorted within a folder. kNotFound.
Result<std::vector<std::string>> scenario_files(const std::vector<std::string>& paths);

/// A few lines for people: verdict, figures, and of what does not hold each.
std::string summary_of(const ChaosResult& result);

}  // namespace hf::chaos
