#include "frontend/server.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <memory>
#include <utility>
#include <vector>

#include "frontend/admin_server.hpp"
#include "frontend/data_core.hpp"
#include "frontend/request_driver.hpp"
#include "frontend/shared_sessions.hpp"
#include "frontend/system_server.hpp"
#include "net/clock.hpp"
#include "net/descriptors.hpp"
#include "net/process_signals.hpp"
#include "net/signal.hpp"
#include "routing/policy.hpp"

namespace hf::frontend {
namespace {

constexpr Duration kDrainPoll = std::chrono::milliseconds(50);
constexpr Duration kCoreAnswer = std::chrono::seconds(5);
constexpr Duration kCutGrace = std::chrono::seconds(2);

class Server {
 public:
  Server(const ServeOptions& options, Reload reload)
      : options_(std::make_shared<const ServeOptions>(options)),
        reload_(std::move(reload)),
        control_("control"),
        signals_(control_, {SIGTERM, SIGINT, SIGHUP}),
        metrics_(registry_, options.version, options.commit),
        fleet_(control_, options_, metrics_,
               [this](const std::shared_ptr<const FleetSnapshot>& snapshot) { publish(snapshot); }),
        usage_(options.continuation_bytes_max) {
    set_limit_metrics();
  }

  Result<void> open();
  void run();

 private:
  Result<void> open_data_cores();
  Result<void> open_system();
  Result<void> open_admin();
  template <class T, class Ask>
  static net::Task<FromCores<T>> ask_cores(Server* self, Ask ask);
  Result<void> write_port_file();
  void set_limit_metrics();
  void publish(const std::shared_ptr<const FleetSnapshot>& snapshot);
  std::size_t requests() const;
  std::uint64_t keyless() const;
  bool is_busy() const;
  net::Task<void> wait_for_end();
  void reload();
  net::Task<void> drain();
  net::Task<void> second_signal();

  std::shared_ptr<const ServeOptions> options_;
  const Reload reload_;
  wire::Registry registry_;
  net::Core control_;
  net::ProcessSignals signals_;  // before anybody can know that we listen
  telemetry::ServeMetrics metrics_;
  std::unique_ptr<telemetry::AccessLog> access_log_;
  core::AdmissionQueue admission_;
  Fleet fleet_;
  Usage usage_;
  FailedRequests failed_;
  std::vector<std::unique_ptr<DataCore>> data_;
  SystemState system_;
  AdminState admin_;
  std::unique_ptr<http::Listener> system_listener_;
  std::unique_ptr<http::Listener> admin_listener_;  // null: off
  std::uint16_t port_ = 0;
  bool hurried_ = false;
};

Result<void> Server::open() {
  if (!options_->access_log.empty()) {
    telemetry::AccessLog::Options log;
    log.path = options_->access_log;
    log.on_drop = [counter = metrics_.access_log_dropped_total.with()] { counter->add(); };
    auto opened = telemetry::AccessLog::open(std::move(log));
    if (!opened) return std::unexpected(opened.error());
    access_log_ = std::move(*opened);
  }
  if (auto done = open_data_cores(); !done) return done;
  if (auto done = open_system(); !done) return done;
  if (auto done = open_admin(); !done) return done;
  return write_port_file();
}

Result<void> Server::open_data_cores() {
  const Shared shared{metrics_, access_log_.get(), fleet_, usage_, failed_, admission_};
  const auto sessions = std::make_shared<SharedSessions>();
  std::vector<net::Core*> cores;
  for (std::size_t i = 0; i < options_->data_cores; ++i) {
    routing::PolicyOptions policy;
    policy.resume_prefill_tokens_max = options_->resume_prefill_tokens_max;
    policy.seed = i + 1;
    policy.sessions = sessions;
    auto router = routing::make_policy(options_->routing, policy);
    if (!router) return std::unexpected(router.error());
    data_.push_back(
        std::make_unique<DataCore>(shared, options_, i, std::move(*router), fleet_.snapshot()));
    cores.push_back(&data_.back()->core());
  }
  http::ListenOptions listen;
  listen.address = options_->listen;
  auto listeners = http::Listener::open_on_all(cores, listen);
  if (!listeners) return std::unexpected(listeners.error());
  port_ = listeners->front()->endpoint().port;
  for (std::size_t i = 0; i < data_.size(); ++i) data_[i]->serve(std::move((*listeners)[i]));
  return {};
}

Result<void> Server::open_system() {
  system_.fleet = [this] { return fleet_.snapshot(); };
  system_.requests = [this] { return requests(); };
  system_.keyless = [this] { return keyless(); };
  system_.metrics = [this] {
    set_limit_metrics();
    return registry_.render();
  };
  http::ListenOptions listen;
  http::Endpoint endpoint{options_->system_host, options_->system_port};
  listen.address = endpoint.to_string();
  listen.flag = "--system-port";
  auto listener = http::Listener::open(control_, listen);
  if (!listener) return std::unexpected(listener.error());
  system_listener_ = std::move(*listener);
  system_listener_->start(
      [this](net::Socket socket) { return serve_system(control_, system_, std::move(socket)); });
  return {};
}

// Requests live on data cores: each is asked there, and answers by post.
template <class T, class Ask>
net::Task<FromCores<T>> Server::ask_cores(Server* self, Ask ask) {
  struct Asked {
    explicit Asked(net::Core& core) : heard(core) {}
    std::vector<T> answers;
    net::Signal heard;
  };
  const auto asked = std::make_shared<Asked>(self->control_);
  for (const auto& core : self->data_) {
    core->core().post([data = core.get(), control = &self->control_, asked, ask] {
      control->post([asked, answer = ask(*data)]() mutable {
        asked->answers.push_back(std::move(answer));
        asked->heard.notify_all();
      });
    });
  }
  const auto deadline = net::now() + kCoreAnswer;
  FromCores<T> result;
  while (asked->answers.size() < self->data_.size() && result.complete) {
    result.complete = co_await asked->heard.wait_until(deadline);
  }
  result.complete = asked->answers.size() == self->data_.size();
  result.answers = std::move(asked->answers);
  co_return result;
}

Result<void> Server::open_admin() {
  if (options_->admin == "off") return {};
  admin_.token = options_->admin_token;
  admin_.failed = &failed_;
  admin_.describe = [this](std::string id) {
    const auto ask = [id = std::move(id)](DataCore& core) { return core.describe(id); };
    return ask_cores<std::vector<std::string>>(this, ask);
  };
  admin_.cancel = [this](std::string id, core::CancelMode mode) {
    const auto ask = [id = std::move(id), mode](DataCore& core) { return core.cancel(id, mode); };
    return ask_cores<std::size_t>(this, ask);
  };
  http::ListenOptions listen;
  listen.address = options_->admin;
  listen.flag = "--admin (off: none)";
  auto listener = http::Listener::open(control_, listen);
  if (!listener) return std::unexpected(listener.error());
  net::asio::ip::address bound = net::asio::ip::make_address((*listener)->endpoint().host);
  if (!bound.is_loopback() && options_->admin_token.empty()) {
    return fail(Code::kBadInput,
                "--admin " + options_->admin + " can be reached from other machines: set " +
                    "HOLDFAST_ADMIN_TOKEN, or listen on 127.0.0.1, or give --admin off");
  }
  admin_listener_ = std::move(*listener);
  admin_listener_->start(
      [this](net::Socket socket) { return serve_admin(control_, admin_, std::move(socket)); });
  return {};
}

Result<void> Server::write_port_file() {
  if (options_->port_file.empty()) return {};
  // Written aside and renamed: whoever waits for the file reads it whole.
  const auto aside = options_->port_file + ".new";
  std::ofstream file(aside);
  file << "{\"listen\":" << port_ << ",\"system\":" << system_listener_->endpoint().port
       << ",\"admin\":" << (admin_listener_ ? admin_listener_->endpoint().port : 0) << "}\n";
  file.close();
  if (!file || std::rename(aside.c_str(), options_->port_file.c_str()) != 0) {
    return fail(Code::kSystem, "cannot write the port file " + options_->port_file +
                                   "; check the path given with --port-file");
  }
  return {};
}

void Server::set_limit_metrics() {
  const auto& limits = options_->limits;
  const auto set = [this](std::string_view name, auto current, auto max) {
    metrics_.limit_current.with(name)->set(static_cast<double>(current));
    metrics_.limit_max.with(name)->set(static_cast<double>(max));
  };
  set("connections", usage_.connections.load(), limits.connections_max);
  set("running", usage_.requests.load(), limits.running_max);
  set("bytes", usage_.bytes.used(), usage_.bytes.max());
}

void Server::publish(const std::shared_ptr<const FleetSnapshot>& snapshot) {
  for (const auto& core : data_) core->apply(snapshot);
}

std::size_t Server::requests() const {
  std::size_t total = 0;
  for (const auto& core : data_) total += core->requests();
  return total;
}

std::uint64_t Server::keyless() const {
  std::uint64_t total = 0;
  for (const auto& core : data_) total += core->keyless();
  return total;
}

void Server::run() {
  std::printf(
      "holdfast serve: listening on %s port %u, system port %u, %zu engines, %zu data cores\n",
      options_->listen.c_str(), port_, system_listener_->endpoint().port, options_->engines.size(),
      data_.size());
  std::fflush(stdout);
  for (const auto& core : data_) core->start();
  fleet_.start();
  control_.spawn(wait_for_end(), "wait for the end");
  control_.run();
  for (const auto& core : data_) {
    core->core().stop();
    core->core().join();
  }
}

net::Task<void> Server::wait_for_end() {
  while (co_await signals_.wait() == SIGHUP) reload();
  auto draining = drain();
  co_await std::move(draining);
  fleet_.stop();
  system_listener_->close();
  if (admin_listener_) admin_listener_->close();
  control_.stop();
}

void Server::reload() {
  auto found = reload_ ? reload_(*options_) : fail(Code::kUnsupported, "nothing to read anew");
  metrics_.config_reloads_total.with(found ? "ok" : "failed")->add();
  if (!found) {
    std::fprintf(stderr, "%s\nholdfast serve: reload failed, the old configuration stays\n",
                 found.error().detail.c_str());
    return;
  }
  for (const auto& change : found->applied)
    std::fprintf(stderr, "holdfast serve: reload: %s\n", change.c_str());
  for (const auto& change : found->needs_restart)
    std::fprintf(stderr, "holdfast serve: reload: %s needs a restart\n", change.c_str());
  std::fprintf(stderr, "holdfast serve: reloaded, %zu settings changed, %zu need a restart\n",
               found->applied.size(), found->needs_restart.size());
  options_ = std::make_shared<const ServeOptions>(std::move(found->options));
  usage_.bytes.set_max(options_->continuation_bytes_max);
  for (const auto& core : data_) core->apply(options_);
  fleet_.apply(options_);
}

net::Task<void> Server::second_signal() {
  int number = SIGHUP;
  while (number == SIGHUP) number = co_await signals_.wait();
  if (number != 0) hurried_ = true;
}

// Also a client that was accepted and has not been read yet.
bool Server::is_busy() const {
  const bool all_closed =
      std::ranges::all_of(data_, [](const auto& core) { return core->is_closed(); });
  return !all_closed || requests() + usage_.connections.load() > 0;
}

net::Task<void> Server::drain() {
  system_.draining.store(true);
  std::fprintf(stderr, "holdfast serve: draining, %zu requests run\n", requests());
  control_.spawn(second_signal(), "second signal");
  for (const auto& core : data_) core->announce_drain();
  // Who sends us clients learns of it by /ready, and takes some time to.
  const auto lame_until = net::now() + options_->lame_duck;
  while (net::now() < lame_until && !hurried_) {
    co_await net::sleep_until(control_, net::now() + kDrainPoll);
  }
  for (const auto& core : data_) core->drain();
  const auto limit = net::now() + options_->drain_limit;
  while (is_busy() && net::now() < limit && !hurried_) {
    for (const auto& core : data_) core->close_idle();
    co_await net::sleep_until(control_, net::now() + kDrainPoll);
  }
  if (requests() > 0) {
    std::fprintf(stderr, "holdfast serve: ending %zu requests\n", requests());
    for (const auto& core : data_) core->cut();
  }
  // Error events are still to be written and read.
  const auto grace = net::now() + kCutGrace;
  while (is_busy() && net::now() < grace) {
    co_await net::sleep_until(control_, net::now() + kDrainPoll);
  }
  signals_.cancel();
}

}  // namespace

Result<void> run_server(const ServeOptions& options, Reload reload) {
  net::ignore_sigpipe();
  net::reserve_descriptors();
  Server server(options, std::move(reload));
  if (auto opened = server.open(); !opened) return opened;
  server.run();
  return {};
}

}  // namespace hf::frontend
