#include "telemetry/metrics.hpp"

namespace hf::telemetry {

ServeMetrics::ServeMetrics(Registry& r, std::string_view version, std::string_view commit)
    : registry(r),
      requests_total(r, "holdfast_requests_total", "Requests that ended, by how they ended.",
                     {"model", "endpoint", "outcome"}),
      requests_running(r, "holdfast_requests_running", "Requests being answered now.", {"model"}),
      requests_queued(r, "holdfast_requests_queued", "Requests waiting for a worker now.",
                      {"model"}),
      time_to_first_token_seconds(r, "holdfast_time_to_first_token_seconds",
                                  "From the whole request to its first token.", {},
                                  kFirstTokenBounds),
      inter_token_seconds(r, "holdfast_inter_token_seconds",
                          "Between two events with tokens of one stream.", {}, kInterTokenBounds),
      request_seconds(r, "holdfast_request_seconds", "From the whole request to its end.", {},
                      kRequestBounds),
      tokens_total(r, "holdfast_tokens_total", "Tokens of requests, by kind.", {"model", "kind"}),
      attempts_total(r, "holdfast_attempts_total", "Attempts that ended, by how they ended.",
                     {"worker", "outcome"}),
      migrations_total(r, "holdfast_migrations_total",
                       "Requests that went on elsewhere, by mode, cause and result.",
                       {"model", "mode", "reason", "outcome"}),
      resume_gap_seconds(r, "holdfast_resume_gap_seconds",
                         "From the last event before a failure to the first one after it.", {},
                         kResumeGapBounds),
      wasted_tokens_total(r, "holdfast_wasted_tokens_total",
                          "Tokens that engines made and no client got.", {"reason"}),
      hedges_total(r, "holdfast_hedges_total", "Second attempts beside a slow one, by result.",
                   {"outcome"}),
      retry_budget_exhausted_total(r, "holdfast_retry_budget_exhausted_total",
                                   "Retries and hedges not made because the budget was spent.",
                                   {"kind"}),
      cancellations_total(r, "holdfast_cancellations_total", "Requests cancelled, by phase.",
                          {"reason", "phase"}),
      shed_total(r, "holdfast_shed_total", "Requests refused for load.", {"model", "reason"}),
      clients_cut_total(r, "holdfast_clients_cut_total",
                        "Client connections ended by this side, by reason.", {"reason"}),
      limit_current(r, "holdfast_limit_current", "What is held of a limit now.", {"limit"}),
      limit_max(r, "holdfast_limit_max", "The limit.", {"limit"}),
      worker_state(r, "holdfast_worker_state", "1 for the state that a worker is in.",
                   {"worker", "state"}),
      ejections_total(r, "holdfast_ejections_total", "Workers taken out of placement.",
                      {"worker", "reason"}),
      access_log_dropped_total(r, "holdfast_access_log_dropped_total",
                               "Access log lines lost to a slow or failing file.", {}),
      config_reloads_total(r, "holdfast_config_reloads_total", "Reloads of the configuration.",
                           {"result"}),
      build_info(r, "holdfast_build_info", "Always 1.", {"version", "commit"}) {
  build_info.with(version, commit)->set(1);
}

void ServeMetrics::set_worker_state(std::string_view worker, std::string_view state) {
  worker_state.with(worker, state)->set(1);
  worker_state.erase_if([&](std::span<const std::string> labels) {
    return labels[0] == worker && labels[1] != state;
  });
}

void ServeMetrics::forget_worker(std::string_view worker) {
  registry.erase_label("worker", worker);
}

}  // namespace hf::telemetry
