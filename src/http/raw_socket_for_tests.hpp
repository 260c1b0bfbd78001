// Blocking loopback sockets for tests: the other side of a connection, byte by byte, with a time
// limit on everything. Test code only.
#pragma once

#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace hf::http {

inline constexpr std::chrono::seconds kTestLimit{60};

class RawSocket {
 public:
  explicit RawSocket(int fd) : fd_(fd) {}
  RawSocket(RawSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RawSocket& operator=(RawSocket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~RawSocket() { close(); }

  /// `receive_buffer` > 0 makes the kernel's buffer small, before the connection is made.
  static RawSocket connect(std::uint16_t port, int receive_buffer = 0) {
    RawSocket result(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (receive_buffer > 0) {
      ::setsockopt(result.fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(result.fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return result;
  }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the peer has gone: the test sees it by what is missing
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  /// Reads until `end` has been seen in what this call read; "" in `end`: to the end of stream.
  std::string read_until(std::string_view end) {
    std::string got;
    const auto limit = std::chrono::steady_clock::now() + kTestLimit;
    while (end.empty() || got.find(end) == std::string::npos) {
      char buffer[4096];
      const std::size_t room = end.empty() ? sizeof buffer : 1;
      const ssize_t size = receive(buffer, room, limit);
      if (size <= 0) {
        if (!end.empty()) ADD_FAILURE() << "ended before \"" << end << "\": " << got;
        break;
      }
      got.append(buffer, static_cast<std::size_t>(size));
    }
    return got;
  }
  std::string read_to_end() { return read_until(""); }
  std::string read_exactly(std::size_t size) {
    std::string got;
    const auto limit = std::chrono::steady_clock::now() + kTestLimit;
    while (got.size() < size) {
      char buffer[65536];
      const ssize_t part = receive(buffer, std::min(sizeof buffer, size - got.size()), limit);
      if (part <= 0) break;
      got.append(buffer, static_cast<std::size_t>(part));
    }
    EXPECT_EQ(got.size(), size);
    return got;
  }

  /// 0 when the peer ended in order, else the errno of the end (ECONNRESET), -1: it goes on.
  int end_reason() {
    char byte = 0;
    const ssize_t size = receive(&byte, 1, std::chrono::steady_clock::now() + kTestLimit);
    if (size > 0) return -1;
    return size == 0 ? 0 : errno;
  }

  void shutdown_send() { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    const linger hard{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int fd() const { return fd_; }

 private:
  ssize_t receive(char* buffer, std::size_t room, std::chrono::steady_clock::time_point limit) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        limit - std::chrono::steady_clock::now());
    pollfd waiting{fd_, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) <= 0) {
      ADD_FAILURE() << "nothing came in time";
      errno = ETIMEDOUT;
      return -1;
    }
    return ::recv(fd_, buffer, room, 0);
  }

  int fd_;
};

class RawListener {
 public:
  explicit RawListener(int backlog = 16) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, backlog), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  ~RawListener() { close(); }
  RawListener(const RawListener&) = delete;
  RawListener& operator=(const RawListener&) = delete;

  RawSocket accept() {
    pollfd waiting{fd_, POLLIN, 0};
    const auto limit = std::chrono::milliseconds(kTestLimit);
    EXPECT_EQ(::poll(&waiting, 1, static_cast<int>(limit.count())), 1) << "nobody connected";
    return RawSocket(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
  }
  /// Whether somebody waits to be accepted now.
  bool has_waiting() {
    pollfd waiting{fd_, POLLIN, 0};
    return ::poll(&waiting, 1, 0) == 1;
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  std::uint16_t port() const { return port_; }

 private:
  int fd_;
  std::uint16_t port_ = 0;
};

}  // namespace hf::http
