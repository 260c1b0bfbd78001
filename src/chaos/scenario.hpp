// A scenario: topology, load, faults on a time line, and what must hold. Read from YAML.
//
// The file format is docs/chaos.md. `quick:` holds what differs in the short form; it is laid over
// the rest before anything is read.
#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"

namespace hf::chaos {

/// ">= 40", "<= 2s", "100%": a limit as the file has it.
struct Bound {
  enum class Op : std::uint8_t { kAtLeast, kAtMost, kEqual };
  Op op = Op::kEqual;
  double value = 0;  // percent, count or ms
  std::string text;  // for people: ">= 40"

  bool holds(double got) const {
    return op == Op::kAtLeast ? got >= value : op == Op::kAtMost ? got <= value : got == value;
  }
};
enum class Unit : std::uint8_t { kCount, kPercent, kMillis };
/// Without an operator: `otherwise`. kBadInput names what is wrong.
Result<Bound> parse_bound(std::string_view text, Unit unit, Bound::Op otherwise);

using Flags = std::vector<std::pair<std::string, std::string>>;  // "itl-ms", "20"

struct EngineSpec {
  std::string name;                  // "engine-1"
  std::string kind = "simulated";    // simulated | llama.cpp | command | url
  std::string dialect = "vllm";      // what it speaks; of a simulated one: what it shall speak
  std::string url;                   // kind url
  std::vector<std::string> command;  // kinds llama.cpp and command, with {port} and {port_file}
  Flags flags;                       // of `holdfast engine`
};

struct LoadGroup {
  std::string name;
  std::string endpoint = "completions";  // completions | chat | both, in turn
  std::size_t clients = 1;
  std::size_t requests = 1;    // of each client, one after the other; 0: until the faults are over
  std::optional<double> rate;  // open loop instead: requests a second, for `duration`
  Duration duration{};
  double streamed = 100;  // percent
  std::int64_t max_tokens = 150;
  std::size_t prompt_words = 12;
  std::size_t prompts = 0;   // different ones; 0: each request has its own
  std::string prompt;        // put in front
  boost::json::object body;  // fields laid over each body; null removes one
  bool variety = true;       // every fourth has stop strings, every fourth may end by EOS
  bool sessions = false;     // x-user-id, one a client
  std::optional<double> read_bytes_per_s;
  bool begins_by_step = false;
  std::string expect = "complete";  // complete | stopped | client_gone | any | the code of an error
};

/// When a step is done; the first that is given counts.
struct Trigger {
  enum class Kind : std::uint8_t {
    kTime,     // since the load began
    kAfter,    // since the step before
    kTokens,   // each running stream has so many
    kReady,    // so many ready workers
    kRunning,  // so many requests in the frontends
    kIdle,     // an engine runs nothing
    kBusy,     // an engine runs something
    kGone,     // a process has ended
    kRenewed,  // every request that ran at the step before has ended
    kDone,     // the load is over
  };
  Kind kind = Kind::kTime;
  Duration time{};
  std::int64_t count = 0;
  std::string target;
  std::string text;
};

struct Step {
  Trigger at;
  std::string kind;                // "kill"
  std::string target;              // "engine-1"
  boost::json::object parameters;  // the rest of its keys
  int line = 0;
};

struct Checks {
  Bound complete{Bound::Op::kAtLeast, 100, ">= 100 %"};
  std::optional<Bound> orphans;
  std::optional<std::vector<std::string>> modes;
  std::optional<std::vector<std::string>> reasons;
  std::map<std::string, Bound> errors;  // by code
  std::map<std::string, Bound> times;   // pause_p99, pause_max, ttft_p99, itl_p99, recovery, …
  std::optional<Bound> sheds;
  std::optional<Bound> hit;  // streams with a gap of at least hit_gap
  Duration hit_gap = std::chrono::seconds(2);
  std::optional<Bound> engines_alive;
  std::map<std::string, Bound> metrics;  // "holdfast_ejections_total", labels allowed
  std::map<std::string, std::int64_t> exits;
  bool sessions = false;  // only sessions of a dead engine move, once
};

struct Scenario {
  std::string name;
  std::string file;
  std::string title;
  std::string inside;  // what happens inside, for docs/fault-tolerance.md
  std::string form;    // quick | long
  std::vector<EngineSpec> engines;
  bool links = false;        // a proxy of ours in front of each engine
  bool fake_clock = false;   // the frontends' wall clock can be set (libfaketime)
  bool own_network = false;  // the run has a network namespace of its own
  std::string reference;     // URL of an untouched engine; empty: see docs/chaos.md
  std::string model = "m";
  std::size_t frontends = 1;  // 0: clients talk to the first engine
  std::vector<std::string> frontend_urls;
  std::vector<std::string> system_urls;
  Flags serve;
  int data_cores = 2;
  std::vector<LoadGroup> load;
  std::vector<Step> steps;
  Checks checks;
  Duration limit = std::chrono::seconds(180);

  bool is_simulated() const;
};

/// `is_long`: without what `quick:` says. All problems of the file, a line each, each with
/// FILE:LINE and, for an unknown key, the nearest one.
Result<Scenario> parse_scenario(std::string_view text, std::string_view file, bool is_long);

}  // namespace hf::chaos
