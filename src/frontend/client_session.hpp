// One client connection: requests in, routed by method and path, one after the other.
#pragma once

#include "net/types.hpp"

namespace hf::frontend {

class DataCore;

/// Serves the connection until either side ends it. `core` must outlive the coroutine.
net::Task<void> serve_client(DataCore& core, net::Socket socket);

}  // namespace hf::frontend
