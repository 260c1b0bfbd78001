// Which changes of state the machines may make, and which this process has seen.
//
// Every machine tells its changes here. A change that its table does not hold is a bug, which the
// simulator reports; an edge that no simulated world takes is untested, which
// `holdfast sim --edges` reports. Production only pays a relaxed load a change of state.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hf::core {

/// States are the machine's own enum, at most eight values from 0 on.
class TransitionTable {
 public:
  using Name = std::string_view (*)(std::uint8_t state);
  struct Edge {
    std::uint8_t from;
    std::uint8_t to;
    template <typename State>
    constexpr Edge(State its_from, State its_to)
        : from(static_cast<std::uint8_t>(its_from)), to(static_cast<std::uint8_t>(its_to)) {}
  };

  constexpr TransitionTable(std::string_view machine, Name name, std::initializer_list<Edge> legal)
      : machine_(machine), name_(name) {
    for (const auto& edge : legal) legal_ |= bit(edge.from, edge.to);
  }

  template <typename State>
  void note(State from, State to) {
    const auto mask = bit(static_cast<std::uint8_t>(from), static_cast<std::uint8_t>(to));
    if ((taken_.load(std::memory_order_relaxed) & mask) == 0)
      taken_.fetch_or(mask, std::memory_order_relaxed);
  }

  std::string_view machine() const { return machine_; }
  int count() const { return std::popcount(legal_); }
  /// As "from -> to": taken, though not in the table; in the table, though never taken.
  std::vector<std::string> illegal() const { return names(taken() & ~legal_); }
  std::vector<std::string> missing() const { return names(legal_ & ~taken()); }
  bool has_illegal() const { return (taken() & ~legal_) != 0; }

 private:
  static constexpr std::uint64_t bit(std::uint8_t from, std::uint8_t to) {
    return std::uint64_t{1} << (8 * from + to);
  }
  std::uint64_t taken() const { return taken_.load(std::memory_order_relaxed); }
  std::vector<std::string> names(std::uint64_t edges) const;

  std::string_view machine_;
  Name name_;
  std::uint64_t legal_ = 0;
  std::atomic<std::uint64_t> taken_{0};
};

extern TransitionTable request_transitions;  // RequestMachine::State
extern TransitionTable worker_transitions;   // WorkerState
extern TransitionTable breaker_transitions;  // 0 closed, 1 open
extern TransitionTable pace_transitions;     // 0 as its peers, 1 slow

std::span<TransitionTable* const> transition_tables();

}  // namespace hf::core
