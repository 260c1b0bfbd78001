// Where each session is placed: the memory of the `session` policy.
//
// Bounded: the longest unused entry goes first; what was forgotten is placed by its hash again.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <unordered_map>

#include "base/time.hpp"

namespace hf::routing {

struct SessionPlace {
  std::optional<std::size_t> home;  // the worker that it is placed on
  std::optional<std::size_t> away;  // where it went last while its home could not take it
};

/// What the policy needs of it. All cores must see the same places: production shares one with
/// locks (frontend/shared_sessions.hpp), the simulator one without.
class SessionPlaces {
 public:
  virtual ~SessionPlaces() = default;
  /// Calls decide() once with the session's place, which it may change; nobody else decides about
  /// that session meanwhile. A session that was idle for too long has no place any more.
  virtual void visit(std::uint64_t session, Instant now,
                     const std::function<void(SessionPlace&)>& decide) = 0;
};

/// Not thread-safe.
class SessionTable final : public SessionPlaces {
 public:
  explicit SessionTable(std::size_t sessions_max = 100'000,
                        Duration idle_max = std::chrono::minutes(10));

  void visit(std::uint64_t session, Instant now,
             const std::function<void(SessionPlace&)>& decide) override;
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::uint64_t session = 0;
    Instant used{};
    SessionPlace place;
  };
  SessionPlace& find(std::uint64_t session, Instant now);
  void drop_last();

  std::size_t sessions_max_;
  Duration idle_max_;
  std::list<Entry> by_use_;  // the longest unused one last
  std::unordered_map<std::uint64_t, std::list<Entry>::iterator> entries_;
};

}  // namespace hf::routing
