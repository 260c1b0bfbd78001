#include "chaos/network.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chaos/process.hpp"
#include "net/clock.hpp"

namespace hf::chaos {
namespace {

constexpr Duration kLimit = std::chrono::seconds(30);

std::unexpected<Error> refused(const std::string& what) {
  return fail(Code::kSystem,
              what + ": " + std::strerror(errno) +
                  "; network faults need a namespace of their own: run as root, or "
                  "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)");
}

Result<void> raise_loopback() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return refused("cannot make a socket");
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  const bool ok = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  ::close(fd);
  if (!ok) return refused("cannot raise loopback");
  return {};
}

}  // namespace

Result<void> enter_own_network() {
  if (::unshare(CLONE_NEWNET) == 0) return raise_loopback();
  const auto uid = ::getuid();
  const auto gid = ::getgid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return refused("cannot make a namespace");
  const bool is_mapped = write_file("/proc/self/setgroups", "deny") &&
                         write_file("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1\n") &&
                         write_file("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1\n");
  if (!is_mapped) return refused("cannot map the user");
  return raise_loopback();
}

net::Task<Result<std::string>> Network::nft(std::string script) {
  const auto log = directory_ + "/nft.log";
  std::error_code ignored;
  std::filesystem::remove(log, ignored);
  ProcessOptions options{.name = "nft", .arguments = {"nft", std::move(script)}, .log_path = log};
  auto process = Process::start(options);
  if (!process) co_return std::unexpected(process.error());
  const bool has_ended = co_await Process::ended(core_, *process, net::now() + kLimit);
  const auto status = process->exit_status();
  if (has_ended && status == 0) co_return read_file(log);
  co_return fail(Code::kSystem,
                 "nft " + process->how_ended() + " (apt install nftables): " + tail_of(log, 300));
}

net::Task<Result<void>> Network::cut(std::uint16_t port) {
  const auto number = std::to_string(port);
  auto done = co_await nft(
      "add table inet chaos; "
      "add chain inet chaos input { type filter hook input priority 0; }; "
      "add rule inet chaos input tcp dport " +
      number +
      " counter drop; "
      "add rule inet chaos input tcp sport " +
      number + " counter drop");
  if (!done) co_return std::unexpected(done.error());
  co_return Result<void>{};
}

net::Task<Result<void>> Network::heal() {
  auto done = co_await nft("delete table inet chaos");
  if (!done) co_return std::unexpected(done.error());
  co_return Result<void>{};
}

net::Task<std::optional<std::uint64_t>> Network::dropped() {
  const auto text = co_await nft("list table inet chaos");
  if (!text) co_return std::nullopt;
  std::uint64_t sum = 0;
  constexpr std::string_view kWord = "counter packets ";
  for (auto at = text->find(kWord); at != std::string::npos; at = text->find(kWord, at + 1))
    sum += std::strtoull(text->c_str() + at + kWord.size(), nullptr, 10);
  co_return sum;
}

}  // namespace hf::chaos
