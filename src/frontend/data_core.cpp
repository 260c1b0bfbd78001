#include "frontend/data_core.hpp"

#include <algorithm>
#include <utility>

#include "frontend/client_session.hpp"
#include "frontend/request_driver.hpp"
#include "net/clock.hpp"

namespace hf::frontend {
namespace {

constexpr Duration kTick = std::chrono::milliseconds(10);
constexpr Duration kLateLoop = std::chrono::milliseconds(100);
constexpr Duration kRequestOnItsWay = std::chrono::seconds(1);
constexpr double kRetryRatio = 0.2;
constexpr double kRetriesPerSecond = 10;

std::uint64_t seed_of(std::size_t index) {
  return mix64(
      static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) ^
      (index << 56));
}

}  // namespace

DataCore::DataCore(Shared shared, std::shared_ptr<const ServeOptions> options, std::size_t index,
                   std::unique_ptr<core::Router> router, std::shared_ptr<const FleetSnapshot> first)
    : shared_(shared),
      options_(std::move(options)),
      core_("data-" + std::to_string(index)),
      pool_(core_),
      random_(seed_of(index)),
      router_(std::move(router)),
      retries_(kRetryRatio, kRetriesPerSecond / static_cast<double>(options_->data_cores)),
      session_key_(parse_session_key(options_->session_key).value_or(SessionKey())),
      inter_token_(shared.metrics.inter_token_seconds.with()),
      snapshot_(std::move(first)) {
  context_.view = &snapshot_->view;
  context_.router = router_.get();
  context_.retries = &retries_;
  context_.hedges = &hedges_;
  context_.random = &random_;
  context_.admission = &shared_.admission;
}

DataCore::~DataCore() {
  core_.stop();
  core_.join();
  // Coroutines that still wait are destroyed with core_, after the view: their machines go first.
  for (const auto& driver : requests_) driver->abandon();
}

void DataCore::serve(std::unique_ptr<http::Listener> listener) {
  listener_ = std::move(listener);
  listener_->start([this](net::Socket socket) { return serve_client(*this, std::move(socket)); });
}

const RouteTable& DataCore::routes() {
  if (routes_of_ != options_) {
    routes_of_ = options_;
    routes_ = RouteTable::of(options_->proxy_paths).value_or(RouteTable());  // it was checked
  }
  return routes_;
}

void DataCore::start() {
  ticker_ = std::make_unique<net::Ticker>(core_, kTick,
                                          [this](Instant now, Duration lag) { tick(now, lag); });
  core_.start();
}

void DataCore::apply(std::shared_ptr<const FleetSnapshot> snapshot) {
  core_.post([this, next = std::move(snapshot)]() mutable {
    snapshot_ = std::move(next);
    context_.view = &snapshot_->view;
    const auto now = net::now();
    for (const auto& driver : requests_) driver->on_view(now);
  });
}

void DataCore::apply(std::shared_ptr<const ServeOptions> options) {
  core_.post([this, next = std::move(options)]() mutable { options_ = std::move(next); });
}

void DataCore::announce_drain() {
  core_.post([this] { draining_ = true; });
}

void DataCore::drain() {
  core_.post([this] {
    draining_ = true;
    core_.spawn(close_listener(), "last connections");
  });
}

net::Task<void> DataCore::close_listener() {
  if (listener_) co_await listener_->finish();
  closed_.store(true);
}

void DataCore::close_idle() {
  core_.post([this] {
    const auto now = net::now();
    for (const auto& client : waiting_) {
      const bool is_late = now - client.since >= kRequestOnItsWay;
      if (is_late && !client.connection->has_input()) client.connection->abort();
    }
  });
}

void DataCore::cut() {
  core_.post([this] {
    for (const auto& driver : requests_) driver->cut();
  });
}

std::list<std::shared_ptr<RequestDriver>>::iterator DataCore::add(
    std::shared_ptr<RequestDriver> driver) {
  running_.fetch_add(1, std::memory_order_relaxed);
  shared_.usage.requests.fetch_add(1, std::memory_order_relaxed);
  context_.running_requests += 1;
  return requests_.insert(requests_.end(), std::move(driver));
}

void DataCore::remove(std::list<std::shared_ptr<RequestDriver>>::iterator it) {
  running_.fetch_sub(1, std::memory_order_relaxed);
  shared_.usage.requests.fetch_sub(1, std::memory_order_relaxed);
  context_.running_requests -= 1;
  requests_.erase(it);
  room_made();
}

std::vector<std::string> DataCore::describe(std::string_view id) const {
  std::vector<std::string> out;
  for (const auto& driver : requests_) {
    if (!driver->is_finished() && (id.empty() || driver->request_id() == id))
      out.push_back(driver->describe(net::now()));
  }
  return out;
}

std::size_t DataCore::cancel(std::string_view id, core::CancelMode mode) {
  std::size_t count = 0;
  for (const auto& driver : requests_) {
    if (driver->request_id() == id && driver->cancel_by_operator(mode)) ++count;
  }
  return count;
}

bool DataCore::is_full() const {
  const auto max = static_cast<std::size_t>(options_->limits.running_max);
  return max > 0 && shared_.usage.requests.load(std::memory_order_relaxed) >= max;
}

std::optional<ClientPlace> DataCore::add_client(http::ServerConnection& connection) {
  const auto max = static_cast<std::size_t>(options().limits.connections_max);
  const auto share = std::max<std::size_t>(1, max / options().data_cores);
  if (max > 0 && waiting_.size() + served_.size() >= share && !make_room()) return std::nullopt;
  shared_.usage.connections.fetch_add(1, std::memory_order_relaxed);
  return waiting_.insert(waiting_.end(), ClientEntry{&connection, true, net::now()});
}

// The longest idle one goes. One whose request is on its way does not, unless it takes its time.
bool DataCore::make_room() {
  const auto now = net::now();
  int looked_at = 0;
  for (auto place = waiting_.begin(); place != waiting_.end(); ++place) {
    if (++looked_at > kLookedAtMax) return false;
    auto& connection = *place->connection;
    if (connection.has_input() && now - place->since < kRequestOnItsWay) continue;
    shared_.metrics.clients_cut_total.with("idle_evicted")->add();
    client_is_served(place);  // not to be taken twice: its session removes it, a moment later
    connection.abort();
    return true;
  }
  return false;
}

void DataCore::remove_client(ClientPlace place) {
  shared_.usage.connections.fetch_sub(1, std::memory_order_relaxed);
  (place->is_waiting ? waiting_ : served_).erase(place);
}

void DataCore::client_waits(ClientPlace place) {
  waiting_.splice(waiting_.end(), place->is_waiting ? waiting_ : served_, place);
  place->is_waiting = true;
  place->since = net::now();
}

void DataCore::client_is_served(ClientPlace place) {
  served_.splice(served_.end(), place->is_waiting ? waiting_ : served_, place);
  place->is_waiting = false;
}

// Whoever takes no byte for so long holds memory, a connection and an engine's sequence.
void DataCore::cut_slow_clients(Instant now) {
  const auto limit = options_->limits.slow_client_timeout;
  for (auto* clients : {&waiting_, &served_}) {
    for (const auto& client : *clients) {
      auto& connection = *client.connection;
      const auto stuck = connection.stuck_since();
      if (!stuck || now - *stuck < limit) continue;
      shared_.metrics.clients_cut_total.with("slow")->add();
      connection.cut();
    }
  }
}

void DataCore::report(std::size_t worker, core::Reason reason) {
  const std::pair<std::size_t, core::Reason> entry{worker, reason};
  if (std::ranges::find(reports_, entry) != reports_.end()) return;
  reports_.push_back(entry);
  if (reports_.size() > 1) return;
  // Behind what is ready now: the orphans of the same death go first.
  core_.post([this] {
    for (const auto& [index, why] : std::exchange(reports_, {})) shared_.fleet.report(index, why);
  });
}

void DataCore::room_made() {
  if (std::exchange(room_posted_, true)) return;
  core_.post([this] {
    room_posted_ = false;
    const auto now = net::now();
    for (const auto& driver : requests_) driver->on_room(now);
  });
}

void DataCore::tick(Instant now, Duration lag) {
  if (lag > kLateLoop) {
    for (const auto& driver : requests_) driver->restart_clocks(now, lag);
  }
  if (now >= second_at_) every_second(now);
  for (const auto& driver : requests_) driver->tick(now);
}

void DataCore::every_second(Instant now) {
  second_at_ = now + std::chrono::seconds(1);
  first_token_.turn(now);
  context_.first_token_p99 = first_token_.quantile(0.99);
  for (const auto& driver : requests_) driver->count_memory();
  cut_slow_clients(now);
  count_refusals();
}

void DataCore::count_refusals() {
  auto& family = shared_.metrics.retry_budget_exhausted_total;
  if (const auto n = std::exchange(context_.retries_refused, 0)) family.with("retry")->add(n);
  if (const auto n = std::exchange(context_.hedges_refused, 0)) family.with("hedge")->add(n);
}

std::string DataCore::new_id(std::string_view prefix) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  std::string id(prefix);
  for (int half = 0; half < 2; ++half) {
    auto bits = random_.next();
    for (int i = 0; i < 8; ++i, bits >>= 8) id += kHex[bits & 15];
  }
  return id;
}

}  // namespace hf::frontend
