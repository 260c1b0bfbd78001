// The clients of a run, what they ask, and the right answers to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "chaos/client.hpp"
#include "chaos/scenario.hpp"
#include "http/endpoint.hpp"
#include "net/core.hpp"

namespace hf::chaos {

struct Answer {
  std::shared_ptr<Client> client;
  std::size_t group = 0;   // index into Scenario::load
  std::size_t member = 0;  // which client of the group
};

/// Core thread only. Everything that began must have ended before it is destroyed.
class Load {
 public:
  Load(net::Core& core, const Scenario& scenario, std::uint64_t seed)
      : core_(core), scenario_(scenario), seed_(seed) {}

  void set_entries(std::vector<http::Endpoint> entries) { entries_ = std::move(entries); }
  /// Starts the group; nothing if it has begun.
  void begin(const std::string& group);
  /// Starts those that no step starts.
  void begin_all();
  /// Groups that repeat until the faults are over stop after the request that runs.
  void faults_are_over() { is_repeating_ = false; }
  /// Every group that began is through.
  bool is_over() const { return members_running_ == 0; }
  void give_up(const std::string& why);

  /// Each streaming client of the groups that began has had an answer with so many tokens, or has
  /// one that ended.
  bool all_have(std::size_t tokens) const;
  /// Every request that began by then has ended.
  bool have_ended(Instant begun_by) const;
  const std::vector<Answer>& answers() const { return answers_; }
  /// Running answers of a group, at most `count`, the oldest first; 0: all.
  std::vector<std::shared_ptr<Client>> running_of(const std::string& group,
                                                  std::size_t count) const;

  /// What the `number`-th request of a group asks.
  Call call_of(const LoadGroup& group, std::size_t member, std::size_t number) const;
  /// Calls of the groups whose number is known before.
  std::vector<Call> known_calls() const;

 private:
  net::Task<void> run_member(std::size_t group, std::size_t member);
  net::Task<void> run_open_loop(std::size_t group);
  net::Task<void> run_one(std::shared_ptr<Client> client);
  std::shared_ptr<Client> next_client(std::size_t group, std::size_t member);

  net::Core& core_;
  const Scenario& scenario_;
  std::uint64_t seed_;
  std::vector<http::Endpoint> entries_;
  std::vector<Answer> answers_;
  std::map<std::size_t, std::size_t> requests_made_;  // by group
  std::vector<std::string> begun_;
  std::size_t members_running_ = 0;
  bool is_repeating_ = true;
  bool is_given_up_ = false;
};

/// The right answers, by what was asked.
class Reference {
 public:
  Reference(net::Core& core, http::Endpoint oracle) : core_(core), oracle_(std::move(oracle)) {}

  /// Asks what it does not know yet, at most `at_once` at a time, until `deadline`.
  net::Task<void> ask(std::vector<Call> calls, std::size_t at_once, Instant deadline);
  /// An empty transcript (status 0) where it was not asked.
  const Transcript& answer_to(const Call& call) const;

 private:
  net::Task<void> run_one(std::shared_ptr<Client> client);

  net::Core& core_;
  http::Endpoint oracle_;
  std::map<std::string, std::shared_ptr<Client>> answers_;
  std::size_t running_ = 0;
};

}  // namespace hf::chaos
