// From what was seen to figures, checks and the verdict. No I/O: tests hand in doctored
// transcripts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chaos/load.hpp"
#include "chaos/result.hpp"
#include "chaos/scenario.hpp"

namespace hf::chaos {

/// What a frontend's access log says of a request.
struct AccessRecord {
  std::vector<std::string> workers;  // one an attempt
  std::vector<std::string> modes;    // one a migration
  std::vector<std::string> reasons;
  std::vector<double> pauses_ms;
};
/// By request id. Lines that do not parse are left out.
std::map<std::string, AccessRecord> parse_access_log(std::string_view text);

/// One answer beside the right one.
struct Judged {
  std::size_t group = 0;
  std::size_t member = 0;
  const Transcript* got = nullptr;
  const Transcript* want = nullptr;
  std::string path;
  std::string request_id;
  bool stream = true;
  Instant started_at{};
  Instant ended_at{};
};

/// A fault, when it began.
struct Strike {
  std::string kind;    // "kill"
  std::string target;  // "engine-1"
  Instant at{};
};

struct Evidence {
  std::vector<Judged> answers;
  std::map<std::string, AccessRecord> access;
  std::vector<std::string> addresses;  // of the engines, as the access log names them
  std::vector<bool> was_struck;        // by engine
  std::vector<Strike> strikes;
  std::map<std::string, double> metrics;  // what was added during the run
  std::map<std::string, std::optional<int>> exits;
  std::optional<std::int64_t> engines_alive;
  std::optional<double> told_ms;
  std::string left_over;  // what still ran at the end; empty: nothing
  std::vector<std::string> ended_badly;
  std::vector<std::string> problems;  // of the run itself: it is void
  bool direct = false;                // no frontend: the first engine wrote everything
  Instant began{};
};

/// Fills streams, figures, checks and verdict; faults and topology must be there.
void assess(const Scenario& scenario, const Evidence& evidence, ChaosResult& result);

/// The sum of the series of that name that have all the labels of `key`: `name{a="b"}`.
double sum_of(const std::map<std::string, double>& series, std::string_view key);

}  // namespace hf::chaos
