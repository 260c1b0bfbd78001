#include <cstdio>

#include "chaos/session.hpp"

namespace hf::chaos {
namespace {

std::string in_ms(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, ms < 100 ? "%.1f" : "%.0f", ms);
  return text;
}

}  // namespace

std::string summary_of(const ChaosResult& result) {
  const auto& figures = result.figures;
  char head[64];
  std::snprintf(head, sizeof head, "%-4s %-18s %6.1f s  ", to_string(result.verdict),
                result.scenario.c_str(), result.duration_ms / 1000);
  std::string out = head;
  out += std::to_string(figures.complete) + " of " + std::to_string(figures.streams) +
         " complete, " + std::to_string(figures.wrong_tokens) + " wrong, " +
         std::to_string(figures.orphans) + " orphans";
  for (const auto& [mode, count] : figures.by_mode)
    out += ", " + mode + " " + std::to_string(count);
  if (figures.pause_ms)
    out += ", pause ms p50 " + in_ms(figures.pause_ms->p50) + " p99 " +
           in_ms(figures.pause_ms->p99) + " max " + in_ms(figures.pause_ms->max);
  out += "\n";
  if (result.verdict == Verdict::kPass) return out;
  for (const auto& fault : result.faults)
    if (!fault.verified) out += "     not verified: " + fault.name + ": " + fault.evidence + "\n";
  for (const auto& check : result.checks) {
    if (check.ok) continue;
    out += "     " + check.name + ": want " + check.want + ", got " + check.got + "\n";
    if (!check.detail.empty()) out += "       " + check.detail + "\n";
  }
  for (const auto& line : result.log) out += "     " + line + "\n";
  return out;
}

}  // namespace hf::chaos
