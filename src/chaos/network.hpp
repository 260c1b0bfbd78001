// Packets dropped by nftables, in a network namespace that belongs to this run alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "net/core.hpp"

namespace hf::chaos {

/// Puts this process into a network namespace of its own, with nothing in it but loopback. Call
/// before any thread or socket is made. kSystem says what the system refused, and the remedy.
Result<void> enter_own_network();

class Network {
 public:
  Network(net::Core& core, std::string directory) : core_(core), directory_(std::move(directory)) {}

  /// Drops all packets to and from a local TCP port.
  net::Task<Result<void>> cut(std::uint16_t port);
  net::Task<Result<void>> heal();
  /// Packets dropped so far; nullopt where nft cannot be asked.
  net::Task<std::optional<std::uint64_t>> dropped();

 private:
  net::Task<Result<std::string>> nft(std::string script);

  net::Core& core_;
  std::string directory_;
};

}  // namespace hf::chaos
