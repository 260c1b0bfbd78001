#include <algorithm>
#include <cstdio>
#include <string_view>

#include "chaos/result.hpp"

namespace hf::chaos {
namespace {

/// For attributes and text. Control characters that XML 1.0 has no way to write become '?'.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\n': out += "&#10;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return out;
}

std::string in_seconds(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", ms / 1000);
  return text;
}

std::string why(const ChaosResult& result) {
  std::string out;
  for (const auto& fault : result.faults) {
    if (!fault.verified) out += fault.name + " did not take effect: " + fault.evidence + "\n";
  }
  for (const auto& check : result.checks) {
    if (check.ok) continue;
    out += check.name + ": want " + check.want + ", got " + check.got + "\n";
    if (!check.detail.empty()) out += check.detail + "\n";
  }
  for (const auto& line : result.log) out += line + "\n";
  return out;
}

}  // namespace

std::string to_junit(std::span<const ChaosResult> results) {
  double total_ms = 0;
  for (const auto& result : results) total_ms += result.duration_ms;
  const auto with = [&](Verdict verdict) {
    return std::to_string(std::ranges::count(results, verdict, &ChaosResult::verdict));
  };
  std::string out =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"chaos\" tests=\"" +
      std::to_string(results.size()) + "\" failures=\"" + with(Verdict::kFail) + "\" errors=\"" +
      with(Verdict::kVoid) + "\" skipped=\"0\" time=\"" + in_seconds(total_ms) + "\">\n";
  for (const auto& result : results) {
    out += "  <testcase classname=\"chaos." + escaped(result.form) + "\" name=\"" +
           escaped(result.scenario) + "\" time=\"" + in_seconds(result.duration_ms) + "\"";
    if (result.verdict == Verdict::kPass) {
      out += "/>\n";
      continue;
    }
    const char* const tag = result.verdict == Verdict::kFail ? "failure" : "error";
    out.append(">\n    <").append(tag).append(" message=\"").append(to_string(result.verdict));
    out.append("\">").append(escaped(why(result))).append("</").append(tag);
    out.append(">\n  </testcase>\n");
  }
  return out + "</testsuite>\n";
}

}  // namespace hf::chaos
