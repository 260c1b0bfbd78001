// What happens in a simulated world, drawn from its seed before it begins.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "simulator/world_request.hpp"

namespace hf::simulator {

struct FaultDraw {
  Duration at{};
  std::size_t engine = 0;
  Fault fault = Fault::kKill;
  Duration how_long{};
  bool dropped = false;
};

struct PauseDraw {
  Duration at{};
  std::size_t frontend = 0;
  Duration how_long{};
  bool dropped = false;
};

struct LossDraw {
  Duration at{};
  std::size_t frontend = 0;
  std::size_t engine = 0;  // npos: all of them
  Duration how_long{};
  bool dropped = false;
};

struct WorldDraw {
  std::vector<EngineTraits> engines;
  std::size_t frontends = 1;
  std::size_t cores = 1;
  core::MigrationOptions migration;
  std::vector<RequestDraw> requests;
  std::vector<FaultDraw> faults;
  std::vector<PauseDraw> pauses;
  std::vector<LossDraw> losses;  // of discovery
  std::size_t is_protected = static_cast<std::size_t>(-1);
};

/// Everything at random.
WorldDraw draw_world(std::uint64_t seed);
/// And what was added later, from dice of its own: partitions, links, lags, membership, a short
/// queue, relayed requests, mode `text`.
void widen(std::uint64_t seed, WorldDraw& world);
/// Names of what may be left out (SimResult::parts), and leaving out all others.
std::vector<std::string> parts_of(const WorldDraw& draw);
void keep_only(WorldDraw& draw, const std::vector<std::string>& parts);
/// One failure scenario of behaviour.md §14, with random details; false: no such name.
bool draw_scenario(std::uint64_t seed, std::string_view name, WorldDraw& draw);
/// One during another, at a phase; false: no such name.
bool draw_pair(std::uint64_t seed, std::string_view first, std::string_view second,
               std::string_view phase, WorldDraw& draw);

}  // namespace hf::simulator
