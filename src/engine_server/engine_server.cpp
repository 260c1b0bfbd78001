#include "engine_server/engine_server.hpp"

#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "http/message.hpp"
#include "http/server_connection.hpp"
#include "net/clock.hpp"

namespace hf::engine_server {
namespace {

using simulator::EngineOutput;
using simulator::ProcessAction;
using simulator::StreamEnd;

constexpr Duration kShutDownMax = std::chrono::seconds(1);

}  // namespace

// One client; lives in the frame of serve().
struct EngineServer::Connection {
  Connection(std::shared_ptr<State> owner, net::Socket socket);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  std::shared_ptr<State> state;
  http::ServerConnection http;
  std::uint64_t stream = 0;
  StreamEnd end = StreamEnd::kDone;
};

struct EngineServer::State : std::enable_shared_from_this<State> {
  State(net::Core& on, simulator::EngineApiOptions options, OnAction action)
      : core(on), api(std::move(options)), timer(on.executor()), on_action(std::move(action)) {}

  // Hands a request to the model and writes what it answers at once.
  void begin(Connection& connection, const http::Request& request) {
    simulator::EngineCall call;
    call.method = request.method;
    call.target = request.target;
    call.body = request.body;
    call.request_id = request.headers.find("x-request-id").value_or("");
    call.keep_alive = request.keep_alive;
    call.content_type = request.headers.find("content-type").value_or("");
    call.authorization = request.headers.find("authorization").value_or("");
    EngineOutput output = api.handle(call, net::now());
    connection.stream = output.stream;
    connection.end = StreamEnd::kOpen;
    streams[output.stream] = &connection;
    deliver(connection, output);
    after_input();
  }

  void deliver(Connection& connection, EngineOutput& output) {
    connection.http.out().append(output.bytes);
    connection.http.flush_now();
    if (output.end == StreamEnd::kOpen) {
      if (connection.http.unsent() <= kUnsentBytesMax) return;
      api.gone(output.stream, net::now());
      output.end = StreamEnd::kReset;
    }
    streams.erase(output.stream);
    connection.end = output.end;
    if (output.end == StreamEnd::kReset) connection.http.reset();
    if (output.end == StreamEnd::kCut && connection.http.unsent() == 0) connection.http.abort();
    connection.http.changed().notify_all();
  }

  void leave(Connection& connection) {
    if (streams.erase(connection.stream) == 0) return;
    api.gone(connection.stream, net::now());
    after_input();
  }

  void poll() {
    outputs.clear();
    api.poll(net::now(), outputs);
    for (EngineOutput& output : outputs) {
      const auto found = streams.find(output.stream);
      if (found != streams.end()) deliver(*found->second, output);
    }
    after_input();
  }

  void after_input() {
    const ProcessAction action = api.take_process_action();
    if (action != ProcessAction::kNone) on_action(action);
    arm();
  }

  void arm() {
    const Instant next = is_stopped ? kNever : api.next_event_at();
    if (next == armed_for) return;
    armed_for = next;
    timer.expires_at(net::to_steady(next));  // cancels the wait for another time
    if (next == kNever) return;
    timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (error || self->is_stopped) return;
      self->armed_for = kNever;
      self->poll();
    });
  }

  void stop() {
    is_stopped = true;
    timer.cancel();
    if (listener) listener->close();
  }

  net::Core& core;
  simulator::EngineApi api;
  net::Timer timer;
  OnAction on_action;
  std::unique_ptr<http::Listener> listener;
  std::unordered_map<std::uint64_t, Connection*> streams;  // those that are open
  std::vector<EngineOutput> outputs;
  std::unordered_set<const Connection*> connections;
  Instant armed_for = kNever;
  bool is_stopped = false;
};

EngineServer::Connection::Connection(std::shared_ptr<State> owner, net::Socket socket)
    : state(std::move(owner)), http(state->core, std::move(socket)) {
  state->connections.insert(this);
  state->api.set_connections(state->connections.size());
}

EngineServer::Connection::~Connection() {
  state->streams.erase(stream);
  state->connections.erase(this);
  state->api.set_connections(state->connections.size());
}

EngineServer::EngineServer(net::Core& core, simulator::EngineApiOptions options, OnAction on_action)
    : state_(std::make_shared<State>(core, std::move(options), std::move(on_action))) {}

EngineServer::~EngineServer() {
  state_->stop();
}

Result<http::Endpoint> EngineServer::listen(const std::string& address) {
  http::ListenOptions options;
  options.address = address;
  auto listener = http::Listener::open(state_->core, options);
  if (!listener) return std::unexpected(std::move(listener.error()));
  state_->listener = std::move(*listener);
  std::weak_ptr<State> weak = state_;
  state_->listener->start(
      [weak](net::Socket socket) { return serve(weak.lock(), std::move(socket)); });
  return state_->listener->endpoint();
}

net::Task<void> EngineServer::serve(std::shared_ptr<State> state, net::Socket socket) {
  if (!state || state->is_stopped || state->connections.size() >= kConnectionsMax) co_return;
  Connection connection(state, std::move(socket));
  while (!state->is_stopped) {
    auto request = co_await connection.http.read_request();
    if (!request) {
      if (request.error().status == 0) co_return;
      http::Response response;
      response.status = request.error().status;
      response.headers.append("content-type", "text/plain; charset=utf-8");
      response.body = request.error().error.detail;
      http::append_response(connection.http.out(), response, false);
      co_await connection.http.close_gracefully();
      co_return;
    }
    state->begin(connection, *request);
    while (connection.end == StreamEnd::kOpen && !connection.http.gone()) {
      co_await connection.http.changed().wait();
    }
    if (connection.end == StreamEnd::kOpen) {
      state->leave(connection);
      co_return;
    }
    if (connection.end == StreamEnd::kReset) co_return;
    if (connection.end == StreamEnd::kCut || !request->keep_alive) {
      co_await connection.http.close_gracefully();
      co_return;
    }
    if (!co_await connection.http.drained(0)) co_return;
  }
}

bool EngineServer::is_writing(const State& state) {
  if (!state.streams.empty()) return true;
  for (const Connection* connection : state.connections) {
    if (connection->http.unsent() > 0) return true;
  }
  return false;
}

net::Task<void> EngineServer::shut_down() {
  return end_all(state_);
}

net::Task<void> EngineServer::end_all(std::shared_ptr<State> state) {
  if (state->listener) state->listener->close();
  const bool is_vllm = state->api.model().options().dialect == simulator::Dialect::kVllm;
  simulator::EngineCall call;
  call.method = "POST";
  call.target = "/sim/fault";
  call.body = is_vllm ? R"({"kind":"die","how":"vllm"})" : R"({"kind":"die","how":"llama"})";
  state->on_action = [](ProcessAction) {};  // we are ending already
  state->api.handle(call, net::now());
  state->poll();
  const Instant until = net::now() + kShutDownMax;
  while (is_writing(*state) && net::now() < until) {
    co_await net::sleep_until(state->core, net::now() + std::chrono::milliseconds(5));
  }
  state->stop();
}

std::size_t EngineServer::connections() const {
  return state_->connections.size();
}

const simulator::EngineModel& EngineServer::model() const {
  return state_->api.model();
}

}  // namespace hf::engine_server
