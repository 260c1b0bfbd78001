#include "chaos/result.hpp"

#include <algorithm>
#include <cmath>

namespace hf::chaos {

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass: return "pass";
    case Verdict::kFail: return "fail";
    case Verdict::kVoid: return "void";
  }
  return "void";
}

std::optional<Quantiles> quantiles_of(std::vector<double> sample) {
  if (sample.empty()) return std::nullopt;
  std::ranges::sort(sample);
  const auto at = [&](double part) {
    const double rank = std::ceil(part * static_cast<double>(sample.size()));
    return sample[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
  };
  return Quantiles{.p50 = at(0.5), .p90 = at(0.9), .p99 = at(0.99), .max = sample.back()};
}

}  // namespace hf::chaos
