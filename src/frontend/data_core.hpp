// One data core: a thread, its listener, its upstream connections and the requests that it serves.
//
// A client connection, its request and its attempts live and die on one core. What spans cores
// comes as snapshots of the fleet, and goes back as reports.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "core/budget.hpp"
#include "core/request_machine.hpp"
#include "frontend/failed_requests.hpp"
#include "frontend/fleet.hpp"
#include "frontend/options.hpp"
#include "frontend/routes.hpp"
#include "frontend/session_key.hpp"
#include "frontend/usage.hpp"
#include "http/listener.hpp"
#include "http/pool.hpp"
#include "http/server_connection.hpp"
#include "net/core.hpp"
#include "net/signal.hpp"
#include "net/ticker.hpp"
#include "telemetry/access_log.hpp"
#include "telemetry/metrics.hpp"

namespace hf::frontend {

class RequestDriver;

/// What all data cores share; every member is safe to use from any of them.
struct Shared {
  telemetry::ServeMetrics& metrics;
  telemetry::AccessLog* access_log;  // may be null
  Fleet& fleet;
  Usage& usage;
  FailedRequests& failed;
  core::AdmissionQueue& admission;
};

/// A client's connection as its core sees it: waiting for a request, or being served.
struct ClientEntry {
  http::ServerConnection* connection = nullptr;
  bool is_waiting = true;
  Instant since{};  // waiting
};
using ClientPlace = std::list<ClientEntry>::iterator;

class DataCore {
 public:
  /// `router` is this core's own.
  DataCore(Shared shared, std::shared_ptr<const ServeOptions> options, std::size_t index,
           std::unique_ptr<core::Router> router, std::shared_ptr<const FleetSnapshot> first);
  ~DataCore();

  net::Core& core() { return core_; }
  /// Before the core's thread starts.
  void serve(std::unique_ptr<http::Listener> listener);
  void start();

  /// Any thread: posts.
  void apply(std::shared_ptr<const FleetSnapshot> snapshot);
  void apply(std::shared_ptr<const ServeOptions> options);
  /// No keep-alive from now on. Any thread.
  void announce_drain();
  /// And no new connections. Any thread.
  void drain();
  /// drain() has done it. Any thread.
  bool is_closed() const { return closed_.load(); }
  /// Closes the connections on which nothing was asked for a second. Any thread.
  void close_idle();
  /// Ends what still runs, each with an error event. Any thread.
  void cut();

  // For the drivers, on this core.
  const Shared& shared() const { return shared_; }
  /// What is in force now. A reload replaces it: take what a request needs when it comes, keep no
  /// reference across a suspension.
  const ServeOptions& options() const { return *options_; }
  /// Of the options in force.
  const RouteTable& routes();
  http::Pool& pool() { return pool_; }
  core::CoreContext& context() { return context_; }
  const FleetSnapshot& fleet() const { return *snapshot_; }
  Random& random() { return random_; }
  bool is_draining() const { return draining_; }
  std::list<std::shared_ptr<RequestDriver>>::iterator add(std::shared_ptr<RequestDriver> driver);
  void remove(std::list<std::shared_ptr<RequestDriver>>::iterator it);
  /// JSON objects of the requests that run, in order of arrival; of all where `id` is empty.
  std::vector<std::string> describe(std::string_view id) const;
  /// Tells how many there were: ids come from clients.
  std::size_t cancel(std::string_view id, core::CancelMode mode);
  /// Tells the fleet that an attempt on a worker failed. The many failures of one death are told
  /// once: they all come within moments, and waking the control core costs the orphans time.
  void report(std::size_t worker, core::Reason reason);
  /// Some request gave back room on a worker: those that wait may look again, the oldest first.
  void room_made();
  std::string new_id(std::string_view prefix);
  std::size_t requests() const { return running_.load(std::memory_order_relaxed); }
  /// limits.running_max is reached.
  bool is_full() const;
  /// A new client. At the core's share of connections_max one that waits for a request is closed
  /// for it; where there is none: nullopt, the client is to be refused.
  std::optional<ClientPlace> add_client(http::ServerConnection& connection);
  void remove_client(ClientPlace place);
  void client_waits(ClientPlace place);
  void client_is_served(ClientPlace place);
  /// How clients are refused that came over the limit: with an answer, while few are.
  bool may_refuse_slowly() const { return refusing_ < kRefusingMax; }
  void refusing(int change) { refusing_ += change; }
  const SessionKey& session_key() const { return session_key_; }
  /// A request without a session key, under the policy `session`.
  void count_keyless() { keyless_.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t keyless() const { return keyless_.load(std::memory_order_relaxed); }
  /// Recent times to the first token, for the hedge.
  core::LatencyWindow& first_token_window() { return first_token_; }
  telemetry::Histogram& inter_token() { return *inter_token_; }

 private:
  static constexpr int kRefusingMax = 64;
  static constexpr int kLookedAtMax = 64;

  void tick(Instant now, Duration lag);
  bool make_room();
  void every_second(Instant now);
  void cut_slow_clients(Instant now);
  void count_refusals();
  net::Task<void> close_listener();

  Shared shared_;
  std::shared_ptr<const ServeOptions> options_;
  RouteTable routes_;
  std::shared_ptr<const ServeOptions> routes_of_;  // that routes_ was made from
  net::Core core_;
  http::Pool pool_;
  Random random_;
  std::unique_ptr<core::Router> router_;
  core::RetryBudget retries_;
  core::HedgeBudget hedges_;
  core::LatencyWindow first_token_;
  SessionKey session_key_;
  std::shared_ptr<telemetry::Histogram> inter_token_;
  core::CoreContext context_;
  std::shared_ptr<const FleetSnapshot> snapshot_;
  std::list<std::shared_ptr<RequestDriver>> requests_;  // in order of arrival
  std::atomic<std::size_t> running_{0};
  std::atomic<bool> closed_{false};
  std::list<ClientEntry> waiting_;  // for a request, the longest first
  std::list<ClientEntry> served_;
  int refusing_ = 0;
  std::atomic<std::uint64_t> keyless_{0};
  std::unique_ptr<http::Listener> listener_;
  std::unique_ptr<net::Ticker> ticker_;
  Instant second_at_{};
  bool draining_ = false;
  bool room_posted_ = false;
  std::vector<std::pair<std::size_t, core::Reason>> reports_;  // to be posted
};

}  // namespace hf::frontend
