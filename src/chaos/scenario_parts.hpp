// The parts of a scenario file, each from its node; problems go to the list.
#pragma once

#include <string>
#include <vector>

#include "chaos/map_reader.hpp"
#include "chaos/scenario.hpp"

namespace hf::chaos {

Flags read_flags(const config::Node& node, MapReader& reader, const std::string& key);
LoadGroup read_group(const std::string& name, const config::Node& node, config::Problems& problems);
std::vector<Step> read_steps(const config::Node& node, config::Problems& problems);
Checks read_checks(const config::Node& node, config::Problems& problems);
/// "5 tokens", "2s", "+3s", "1 ready", "engine-1 idle", "done".
Result<Trigger> parse_trigger(std::string_view text);

}  // namespace hf::chaos
