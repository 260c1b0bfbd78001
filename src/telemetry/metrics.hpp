// The metrics of `holdfast serve`: every family by its name, with typed members.
//
// Names and labels are the contract's (behaviour.md §13). No request, user or session is a label.
// Handles come from a mutex: keep them (per model, per worker), do not look up per token.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "wire/prometheus.hpp"

namespace hf::telemetry {

using wire::Counter;
using wire::Family;
using wire::Gauge;
using wire::Histogram;
using wire::Registry;

/// The `model` label of requests for a model that nobody serves: clients cannot make series.
inline constexpr std::string_view kUnknownModel = "_unknown";

/// Upper bounds in seconds, documented for users.
inline constexpr std::array kFirstTokenBounds = {
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0};
inline constexpr std::array kInterTokenBounds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                                 0.05,   0.075, 0.1,    0.15,  0.2,  0.3,
                                                 0.5,    1.0,   2.0,    5.0,   10.0, 30.0};
inline constexpr std::array kRequestBounds = {0.01,  0.05,  0.1,    0.25,  0.5,  1.0,
                                              2.5,   5.0,   10.0,   30.0,  60.0, 120.0,
                                              300.0, 600.0, 1800.0, 3600.0};
inline constexpr std::array kResumeGapBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                0.5,   1.0,    2.0,   5.0,  10.0,  30.0, 60.0};

/// One a process, before the first request; must not outlive the registry.
struct ServeMetrics {
  ServeMetrics(Registry& registry, std::string_view version, std::string_view commit);

  /// Shows `state` (1) as the worker's only one.
  void set_worker_state(std::string_view worker, std::string_view state);
  /// A worker that has been gone for 10 min: its series vanish from every family.
  void forget_worker(std::string_view worker);

  Registry& registry;

  Family<Counter, 3> requests_total;  // model, endpoint, outcome
  Family<Gauge, 1> requests_running;  // model
  Family<Gauge, 1> requests_queued;   // model
  Family<Histogram, 0> time_to_first_token_seconds;
  Family<Histogram, 0> inter_token_seconds;
  Family<Histogram, 0> request_seconds;
  Family<Counter, 2> tokens_total;      // model, kind
  Family<Counter, 2> attempts_total;    // worker, outcome
  Family<Counter, 4> migrations_total;  // model, mode, reason, outcome
  Family<Histogram, 0> resume_gap_seconds;
  Family<Counter, 1> wasted_tokens_total;           // reason
  Family<Counter, 1> hedges_total;                  // outcome
  Family<Counter, 1> retry_budget_exhausted_total;  // kind
  Family<Counter, 2> cancellations_total;           // reason, phase
  Family<Counter, 2> shed_total;                    // model, reason
  Family<Counter, 1> clients_cut_total;             // reason
  Family<Gauge, 1> limit_current;                   // limit
  Family<Gauge, 1> limit_max;                       // limit
  Family<Gauge, 2> worker_state;                    // worker, state
  Family<Counter, 2> ejections_total;               // worker, reason
  Family<Counter, 0> access_log_dropped_total;      // lines that the log could not take
  Family<Counter, 1> config_reloads_total;          // result: ok, failed
  Family<Gauge, 2> build_info;                      // version, commit
};

}  // namespace hf::telemetry
