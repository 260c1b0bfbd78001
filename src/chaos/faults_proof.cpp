// Faults inside of a simulated engine, of a clock, by a command of the user, and their proofs.
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>

#include "chaos/faults.hpp"
#include "net/clock.hpp"
#include "net/signal.hpp"

namespace hf::chaos {
namespace {

namespace json = boost::json;

constexpr Duration kProofLimit = std::chrono::seconds(30);
constexpr Duration kCommandLimit = std::chrono::seconds(60);
constexpr Duration kHealthLimit = std::chrono::milliseconds(300);
constexpr Duration kSample = std::chrono::milliseconds(100);
/// A slow engine writes at most a third of what it wrote.
constexpr double kSlowFactor = 3;

/// How far a clock may be from where it was put: the proof takes a moment.
constexpr std::int64_t kClockSlack_s = 20;

// Seconds since 1970 of an HTTP date.
std::optional<std::int64_t> seconds_of(std::string_view date) {
  std::tm parts{};
  if (::strptime(std::string(date).c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts) == nullptr)
    return std::nullopt;
  return ::timegm(&parts);
}

}  // namespace

net::Task<Faults::Outcome> Faults::on_engine(const Step& step) {
  auto& engine = *at_.fleet.engine(step.target);
  const bool ends_streams = step.kind == "abort" || step.kind == "early_end" ||
                            step.kind == "half_event" || step.kind == "reset_streams";
  // An engine that was just ejected has none for a while.
  const Instant limit = net::now() + 2 * kProofLimit;
  auto before = co_await at_.fleet.stats(engine);
  while (ends_streams && before && before->streams == 0 && net::now() < limit && !is_stopped_) {
    co_await pause();
    before = co_await at_.fleet.stats(engine);
  }
  if (!before) co_return Outcome{false, "the engine does not answer"};
  const double speed = step.kind == "slow" ? co_await tokens_per_s(engine) : 0;
  json::object body{{"kind", step.kind}};
  for (const auto& [key, value] : step.parameters) body[key] = value;
  const auto text = json::serialize(body);
  const auto answer = co_await at_.fleet.ask(engine.endpoint, "POST", "/sim/fault", text);
  if (step.kind == "die") engine.was_struck = true;
  const bool is_taken = answer && answer->status == 200;
  // One that dies at once does not answer; how it ended is proof enough.
  if (!is_taken && step.kind != "die")
    co_return Outcome{false, answer ? "refused: " + answer->body : answer.error().detail};
  if (ends_streams)
    co_return Outcome{before->streams > 0, std::to_string(before->streams) + " streams were hit"};
  auto proof = co_await prove_engine_fault(step, engine, speed);
  co_return proof;
}

net::Task<Faults::Outcome> Faults::prove_engine_fault(const Step& step, Engine& engine,
                                                      double before) {
  Outcome out{true, "the engine took it"};
  if (step.kind == "freeze") {
    const auto health = co_await at_.fleet.ask(engine.endpoint, "GET", "/health", {}, kHealthLimit);
    out = {!health, health ? "/health still answers" : "/health: " + health.error().detail};
  } else if (step.kind == "pause" || step.kind == "wedge") {
    out = co_await prove_silence(engine);
  } else if (step.kind == "slow") {
    out = co_await prove_slow(engine, before);
  } else if (step.kind == "die") {
    out = co_await prove_death(engine);
  }
  co_return out;
}

// Healthy, and not a token more.
net::Task<Faults::Outcome> Faults::prove_silence(Engine& engine) {
  const auto first = co_await at_.fleet.stats(engine);
  co_await net::sleep_until(at_.core, net::now() + kSample);
  const auto second = co_await at_.fleet.stats(engine);
  const auto health = co_await at_.fleet.ask(engine.endpoint, "GET", "/health");
  if (!first || !second || !health) co_return Outcome{false, "the engine does not answer"};
  const bool ok = first->tokens == second->tokens && health->status == 200;
  co_return Outcome{ok, "/health is " + std::to_string(health->status) + ", " +
                            std::to_string(second->running) + " requests run, " +
                            std::to_string(second->tokens - first->tokens) +
                            " tokens were written in 100 ms"};
}

net::Task<double> Faults::tokens_per_s(Engine& engine) {
  const Instant from = net::now();
  const auto first = co_await at_.fleet.stats(engine);
  co_await net::sleep_until(at_.core, from + kSample);
  const auto second = co_await at_.fleet.stats(engine);
  if (!first || !second) co_return 0;
  co_return static_cast<double>(second->tokens - first->tokens) / seconds(net::now() - from);
}

net::Task<Faults::Outcome> Faults::prove_slow(Engine& engine, double before) {
  const Instant limit = net::now() + kProofLimit;
  double after = before;
  while (net::now() < limit && !is_stopped_) {
    after = co_await tokens_per_s(engine);
    if (after * kSlowFactor < before) break;
  }
  co_return Outcome{after * kSlowFactor < before,
                    std::to_string(static_cast<int>(before)) + " tokens a second before, " +
                        std::to_string(static_cast<int>(after)) + " after"};
}

net::Task<Faults::Outcome> Faults::prove_death(Engine& engine) {
  const Instant limit = net::now() + 2 * kProofLimit;
  const bool is_gone = co_await Process::ended(at_.core, *engine.process, limit);
  co_return Outcome{is_gone, "process " + std::to_string(engine.process->pid()) + " " +
                                 engine.process->how_ended()};
}

net::Task<Faults::Outcome> Faults::run_command(const Step& step) {
  const auto log = at_.directory + "/run.log";
  ProcessOptions options{
      .name = "run", .arguments = {"/bin/sh", "-c", step.target}, .log_path = log};
  auto process = Process::start(options);
  if (!process) co_return Outcome{false, process.error().detail};
  const bool is_done = co_await Process::ended(at_.core, *process, net::now() + kCommandLimit);
  if (!is_done || process->exit_status() != 0)
    co_return Outcome{false, "the command " + process->how_ended() + ": " + tail_of(log, 300)};
  const auto* verify = step.parameters.if_contains("verify");
  if (verify == nullptr || !verify->is_string())
    co_return Outcome{false, "nothing shows that it took effect; give `verify: COMMAND`"};
  const std::string command(verify->get_string());
  const Instant limit = net::now() + kProofLimit;
  while (net::now() < limit && !is_stopped_) {
    options.arguments = {"/bin/sh", "-c", command};
    auto probe = Process::start(options);
    if (!probe) co_return Outcome{false, probe.error().detail};
    const bool is_over = co_await Process::ended(at_.core, *probe, limit);
    if (is_over && probe->exit_status() == 0) co_return Outcome{true, "verified by: " + command};
    co_await net::sleep_until(at_.core, net::now() + kSample);
  }
  co_return Outcome{false, "not verified within 30 s by: " + command};
}

// Proved by the date that the frontend writes into its answers.
net::Task<Faults::Outcome> Faults::clock_jump(const Step& step) {
  auto* frontend = at_.fleet.frontend(step.target);
  if (frontend == nullptr || !frontend->process || !frontend->system)
    co_return Outcome{false, "the run did not start it; use `run: COMMAND`"};
  const auto* by = step.parameters.if_contains("by_s");
  if (by == nullptr || !by->is_int64()) co_return Outcome{false, "by_s: SECONDS is missing"};
  if (!at_.fleet.set_clock(step.target, by->get_int64()))
    co_return Outcome{false, "cannot write its clock file"};
  const Instant limit = net::now() + kProofLimit;
  std::string seen = "no answer";
  while (net::now() < limit && !is_stopped_) {
    const auto answer = co_await at_.fleet.ask(*frontend->system, "GET", "/live");
    const auto date = answer ? answer->headers.find("date") : std::nullopt;
    const auto its = date ? seconds_of(*date) : std::nullopt;
    if (its) {
      const auto off = *its - std::time(nullptr);
      seen = "its date is " + std::to_string(off) + " s from ours";
      if (std::abs(off - by->get_int64()) <= kClockSlack_s) co_return Outcome{true, seen};
    }
    co_await pause();
  }
  co_return Outcome{false, seen + "; is the package libfaketime installed?"};
}

}  // namespace hf::chaos
