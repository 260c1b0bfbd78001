// What one run of a scenario showed: the value that checks judge, files keep and reports draw.
//
// Times are milliseconds since the run began. The file format is described in docs/chaos.md;
// fields are only ever added to it within one version.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace hf::chaos {

inline constexpr int kResultVersion = 1;

/// kVoid: a fault did not take effect or struck nobody, so that nothing was shown either way.
enum class Verdict : std::uint8_t { kPass, kFail, kVoid };
const char* to_string(Verdict verdict);  // "pass", "fail", "void"

/// Of a sample; nearest rank.
struct Quantiles {
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
};
/// nullopt of an empty sample.
std::optional<Quantiles> quantiles_of(std::vector<double> sample);

struct EngineInfo {
  std::string name;     // "engine-1"
  std::string dialect;  // "vllm", "llama.cpp", …
  std::string kind;     // "simulated", "llama.cpp", "url"
};

struct FaultResult {
  std::string name;    // "kill engine-1"
  std::string kind;    // "kill"
  std::string target;  // "engine-1", "frontend-1", "client"
  double at_ms = 0;
  std::optional<double> until_ms;  // when it was taken back
  bool verified = false;
  std::string evidence;  // what shows that it took effect, or that it did not
};

struct CheckResult {
  std::string name;  // "complete"
  std::string want;  // ">= 100 %"
  std::string got;   // "100 %"
  bool ok = false;
  std::string detail;  // for a failed one: which streams, and how they differ
};

/// An event with a token in it.
struct Tick {
  double at_ms = 0;
  int engine = -1;  // index into ChaosResult::engines; -1: not known
};

struct StreamResult {
  std::size_t id = 0;
  std::string endpoint;  // "/v1/chat/completions"
  bool stream = true;
  double start_ms = 0;
  double end_ms = 0;
  std::string outcome;  // complete | error | cut | refused | client_gone | wrong
  int status = 0;
  std::optional<std::string> error;  // its code, or what was wrong
  bool orphan = false;               // an engine failed under it
  std::optional<std::string> mode;   // of its migration
  std::size_t tokens = 0;
  std::optional<double> pause_ms;  // longest gap between two of its tokens
  std::vector<Tick> ticks;
};

struct Figures {
  std::size_t streams = 0;
  std::size_t complete = 0;
  std::size_t wrong_tokens = 0;  // streams whose text is not the untouched engine's
  std::size_t orphans = 0;
  std::map<std::string, std::size_t> by_mode;
  std::map<std::string, std::size_t> errors;  // by code
  std::map<std::string, std::size_t> outcomes;
  std::size_t sheds = 0;
  std::optional<Quantiles> pause_ms;  // of the orphans: the longest gap of each
  std::optional<Quantiles> ttft_ms;
  std::optional<Quantiles> itl_ms;
  std::optional<double> recovery_ms;  // from the last fault until the fleet was whole again
};

struct ChaosResult {
  std::string scenario;  // file name without .yaml
  std::string file;
  std::string title;
  std::string inside;  // what happens inside; may be empty
  std::string form;    // "quick", "long"
  std::string commit;
  std::uint64_t seed = 0;
  std::string started_at;  // UTC, "2026-11-30T00:20:00Z"
  double duration_ms = 0;
  Verdict verdict = Verdict::kVoid;
  std::vector<std::string> frontends;
  std::vector<EngineInfo> engines;
  int data_cores = 0;
  std::vector<FaultResult> faults;
  std::vector<CheckResult> checks;
  std::vector<StreamResult> streams;
  Figures figures;
  std::map<std::string, double> metrics;  // series of the frontends that are not zero
  std::vector<std::string> log;           // what the runner had to say
};

/// The result as one JSON document.
std::string to_json(const ChaosResult& result);

/// A JUnit file: a test case a result; void counts as an error, fail as a failure.
std::string to_junit(std::span<const ChaosResult> results);

}  // namespace hf::chaos
