// Leaving parts out of a world: what a shorter trace is made of.
#include <algorithm>
#include <unordered_set>

#include "simulator/world.hpp"
#include "simulator/world_plan.hpp"

namespace hf::simulator {
namespace {

std::string part(char kind, std::size_t number) {
  return kind + std::to_string(number);
}

bool has_behaviour(const RequestDraw& request) {
  return request.leaves_after || request.leaves_at_token || request.cancelled_after ||
         request.stops_reading_at;
}

std::vector<std::string> without(const std::vector<std::string>& parts, std::size_t first,
                                 std::size_t count) {
  std::vector<std::string> rest(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(first));
  const auto end = std::min(parts.size(), first + count);
  rest.insert(rest.end(), parts.begin() + static_cast<std::ptrdiff_t>(end), parts.end());
  return rest;
}

}  // namespace

std::vector<std::string> parts_of(const WorldDraw& draw) {
  std::vector<std::string> parts;
  parts.reserve(3 * draw.requests.size() + draw.faults.size() + draw.pauses.size());
  // Faults first: with fewer of them the rest is easier to leave out.
  for (std::size_t i = 0; i < draw.faults.size(); ++i) parts.push_back(part('f', i));
  for (std::size_t i = 0; i < draw.pauses.size(); ++i) parts.push_back(part('p', i));
  for (std::size_t i = 0; i < draw.losses.size(); ++i) parts.push_back(part('m', i));
  for (std::size_t i = 0; i < draw.requests.size(); ++i) {
    const auto& request = draw.requests[i];
    parts.push_back(part('r', i));
    if (request.trap) parts.push_back(part('t', i));
    if (request.link) parts.push_back(part('l', i));
    if (has_behaviour(request)) parts.push_back(part('b', i));
  }
  return parts;
}

// The order of what stays, and the dice of each, remain what they were.
void keep_only(WorldDraw& draw, const std::vector<std::string>& parts) {
  const std::unordered_set<std::string> kept(parts.begin(), parts.end());
  for (std::size_t i = 0; i < draw.faults.size(); ++i)
    draw.faults[i].dropped = !kept.contains(part('f', i));
  for (std::size_t i = 0; i < draw.pauses.size(); ++i)
    draw.pauses[i].dropped = !kept.contains(part('p', i));
  for (std::size_t i = 0; i < draw.losses.size(); ++i)
    draw.losses[i].dropped = !kept.contains(part('m', i));
  for (std::size_t i = 0; i < draw.requests.size(); ++i) {
    auto& request = draw.requests[i];
    request.dropped = !kept.contains(part('r', i));
    if (!kept.contains(part('t', i))) request.trap.reset();
    if (!kept.contains(part('l', i))) request.link.reset();
    if (kept.contains(part('b', i))) continue;
    request.leaves_after.reset();
    request.leaves_at_token.reset();
    request.cancelled_after.reset();
    request.stops_reading_at.reset();
  }
}

std::vector<std::string> shrink_world(std::uint64_t seed, WorldOptions options) {
  options.trace = false;
  const auto whole = run_world(seed, options);
  if (whole.violations.empty()) return {};
  auto parts = options.keep ? *options.keep : whole.parts;
  for (auto chunk = std::max<std::size_t>(1, parts.size() / 2);;) {
    bool shorter = false;
    for (std::size_t first = 0; first < parts.size();) {
      options.keep = without(parts, first, chunk);
      if (run_world(seed, options).violations.empty()) {
        first += chunk;
      } else {
        parts = std::move(*options.keep);
        shorter = true;
      }
    }
    if (chunk == 1 && !shorter) return parts;
    chunk = std::max<std::size_t>(1, chunk / 2);
  }
}

}  // namespace hf::simulator
