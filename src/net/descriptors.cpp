#include "net/descriptors.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

namespace hf::net {

void reserve_descriptors(std::size_t count) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // refused: the old limit will do
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const auto highest = std::min<rlim_t>(count, limit.rlim_cur) - 1;
  const int any = ::epoll_create1(EPOLL_CLOEXEC);
  if (any < 0) return;
  const int high = ::fcntl(any, F_DUPFD_CLOEXEC, static_cast<int>(highest));
  if (high >= 0) ::close(high);
  ::close(any);
}

}  // namespace hf::net
