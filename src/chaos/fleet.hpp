// The processes of a run, or the addresses of a fleet that runs already, and how to ask them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "chaos/link.hpp"
#include "chaos/process.hpp"
#include "chaos/scenario.hpp"
#include "http/fetch.hpp"
#include "http/pool.hpp"
#include "net/core.hpp"

namespace hf::chaos {

struct Engine {
  EngineSpec spec;
  std::unique_ptr<Process> process;  // null: not ours, or not started
  http::Endpoint endpoint;           // its own
  std::unique_ptr<Link> link;        // between it and the frontends
  bool was_struck = false;           // killed, stopped or told to die by a step

  http::Endpoint seen_as() const { return link ? link->endpoint() : endpoint; }
};

struct Frontend {
  std::string name;
  std::unique_ptr<Process> process;
  http::Endpoint listen;
  std::optional<http::Endpoint> system;
  std::optional<http::Endpoint> admin;
  std::string access_log;  // empty: we cannot read it
  bool may_end = false;    // a step ended it
};

/// What /sim/stats tells.
struct EngineStats {
  std::int64_t running = 0;
  std::int64_t waiting = 0;
  std::int64_t tokens = 0;
  std::int64_t streams = 0;
};

/// Core thread only; end() must have run before it is destroyed.
class Fleet {
 public:
  Fleet(net::Core& core, const Scenario& scenario, std::string directory);

  /// Starts everything and waits until the frontends know all engines. The error has the log.
  net::Task<Result<void>> start(Instant deadline);
  /// Ends everything in order, the frontends first. What did not end as it should, for people.
  net::Task<std::vector<std::string>> end();

  std::vector<Engine>& engines() { return engines_; }
  std::vector<Frontend>& frontends() { return frontends_; }
  /// nullptr: no such name.
  Engine* engine(const std::string& name);
  Frontend* frontend(const std::string& name);
  /// Of an engine or a frontend; nullptr where it is not ours.
  Process* process(const std::string& name);
  /// Where clients go, all replicas.
  std::vector<http::Endpoint> entries() const;
  /// An engine that no fault touches; nullopt: none.
  std::optional<http::Endpoint> oracle() const { return oracle_; }
  /// The index of the engine that frontends call `address`; -1: none.
  int engine_index(std::string_view address) const;

  /// Starts a process that has ended again, on its old port. Waits until it answers.
  net::Task<Result<void>> start_again(std::string name, Instant deadline);

  /// A frontend's wall clock, so many seconds from the right time; needs Scenario::fake_clock.
  bool set_clock(const std::string& name, std::int64_t by_s);
  net::Task<Result<http::Response>> ask(http::Endpoint to, std::string method, std::string target,
                                        std::string body = {}, Duration limit = kAskLimit);
  /// Workers that every frontend which still runs calls ready; nullopt: nobody to ask.
  net::Task<std::optional<std::int64_t>> ready_workers();
  /// Series of all frontends that run, added up.
  net::Task<std::map<std::string, double>> metrics();
  net::Task<std::optional<EngineStats>> stats(const Engine& engine);

 private:
  static constexpr Duration kAskLimit = std::chrono::seconds(10);

  net::Task<Result<void>> start_oracle(Instant deadline);
  net::Task<Result<void>> start_engine(std::size_t index, std::uint16_t port, Instant deadline);
  net::Task<Result<void>> start_frontend(std::size_t index, Instant deadline);
  net::Task<Result<void>> all_ready(Instant deadline);
  net::Task<Result<std::string>> port_file_of(Process& process, const std::string& name,
                                              Instant deadline);
  std::vector<std::string> engine_command(const EngineSpec& spec, std::uint16_t port) const;
  Result<std::unique_ptr<Process>> spawn(const std::string& name,
                                         std::vector<std::string> arguments,
                                         std::vector<std::string> environment = {});
  std::string path(const std::string& name, const char* suffix) const;
  Result<void> take_urls();

  net::Core& core_;
  const Scenario& scenario_;
  std::string directory_;
  http::Pool pool_;
  std::vector<Engine> engines_;
  std::vector<Frontend> frontends_;
  std::unique_ptr<Process> oracle_process_;
  std::optional<http::Endpoint> oracle_;
};

}  // namespace hf::chaos
