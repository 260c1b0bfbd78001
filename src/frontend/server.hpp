// `holdfast serve`: the control core, the data cores and their listeners, from start to drain.
#pragma once

#include <functional>

#include "base/result.hpp"
#include "frontend/options.hpp"

namespace hf::frontend {

/// Reads the configuration again, on the control core; handed what is in force. Error: it is bad;
/// the detail is a problem a line.
using Reload = std::function<Result<Reloaded>(const ServeOptions& running)>;

/// Runs until SIGTERM or SIGINT: then no new connections, running requests end within
/// options.drain_limit, each that does not with an error event; a second signal skips the wait.
/// SIGHUP reloads: what may change at run time does, for requests that come from then on; a bad
/// configuration keeps the old one. Both are told on stderr and in config_reloads_total.
/// Errors: an address that cannot be listened on, a file that cannot be opened, a bad option.
Result<void> run_server(const ServeOptions& options, Reload reload = nullptr);

}  // namespace hf::frontend
