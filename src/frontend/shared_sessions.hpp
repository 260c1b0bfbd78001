// The session places that all data cores share: shards of a table, each under its own lock.
//
// The one thing on a request's path that takes a mutex (docs/adr/0009): once a placement, never a
// token, held for a look-up, and only with the policy `session`.
#pragma once

#include <array>
#include <mutex>

#include "routing/session_table.hpp"

namespace hf::frontend {

class SharedSessions final : public routing::SessionPlaces {
 public:
  /// Any thread.
  void visit(std::uint64_t session, Instant now,
             const std::function<void(routing::SessionPlace&)>& decide) override {
    auto& shard = shards_[session % kShards];
    const std::lock_guard lock(shard.mutex);
    shard.table.visit(session, now, decide);
  }

 private:
  static constexpr std::size_t kShards = 64;
  static constexpr std::size_t kSessionsMax = 100'000;
  struct Shard {
    std::mutex mutex;
    routing::SessionTable table{kSessionsMax / kShards};
  };
  std::array<Shard, kShards> shards_;
};

}  // namespace hf::frontend
