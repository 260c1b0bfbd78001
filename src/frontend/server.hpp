// `holdfast serve`: the control core, the data cores and their listeners, from start to drain.
#pragma once

#include "base/result.hpp"
#include "frontend/options.hpp"

namespace hf::frontend {

/// Runs until SIGTERM or SIGINT: then no new connections, running requests end within
/// options.drain_limit, each that does not with an error event; a second signal skips the wait.
/// Errors: an address that cannot be listened on, a file that cannot be opened, a bad option.
Result<void> run_server(const ServeOptions& options);

}  // namespace hf::frontend
