// The process's table of open files, made large before it is needed.
#pragma once

#include <cstddef>

namespace hf::net {

/// Raises the soft limit of open files to the hard one and lets the kernel's table grow now, to
/// hold `count` of them (or the limit). The table doubles when it is full, and in a process with
/// threads each doubling waits for an RCU grace period of several milliseconds: right when a
/// worker dies and fifty streams open their new connections. Call it before threads are started.
/// 8 bytes of kernel memory each.
void reserve_descriptors(std::size_t count = 16'384);

}  // namespace hf::net
