// From flags, environment and file to ServeOptions: flag, then environment, then file, then
// default.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "frontend/options.hpp"

namespace hf::config {

struct Sources {
  std::map<std::string, std::string> flags;  // by key, as "admission.hold"; lists with commas
  std::map<std::string, std::string> environment;
  std::string file_name;  // empty: no file
  std::string file_text;
};

/// One key as it is in force.
struct Setting {
  std::string name;
  std::string value;  // as it could be written; of a secret too: print with printed()
  std::string origin;
  bool is_default = true;
  bool is_secret = false;
  bool reloads = false;
  bool has_effect = true;

  std::string printed() const;
};

struct Loaded {
  frontend::ServeOptions options;  // meaningless unless ok()
  std::vector<Setting> settings;   // every key, in the table's order
  std::vector<std::string> problems;
  std::vector<std::string> warnings;

  bool ok() const { return problems.empty(); }
};

/// Reads all sources and tells all problems at once, each with its place (file and line, variable
/// or flag) and what to give instead. Variables of other programs, empty ones and those that
/// Kubernetes sets for a service of our name (tcp://…) are passed over.
Loaded load(const Sources& sources);

/// What `config check` prints: key, value and origin, a line each.
std::string describe(const Loaded& loaded);

/// `running` is what is in force (with what earlier reloads applied), `fresh` what was just read.
/// A key that needs a restart is told at every reload until its value is the running one again.
frontend::Reloaded merge(const frontend::ServeOptions& running,
                         const frontend::ServeOptions& fresh);

}  // namespace hf::config
