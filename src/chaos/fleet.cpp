#include "chaos/fleet.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "net/clock.hpp"
#include "net/signal.hpp"

namespace hf::chaos {
namespace {

namespace json = boost::json;

constexpr Duration kPoll = std::chrono::milliseconds(10);
constexpr Duration kEndGrace = std::chrono::seconds(30);
constexpr std::size_t kBodyMax = 16 << 20;
constexpr const char* kSelf = "/proc/self/exe";

std::string with_port(std::string word, std::uint16_t port, const std::string& port_file) {
  const auto replace = [&word](std::string_view name, const std::string& value) {
    if (const auto at = word.find(name); at != std::string::npos)
      word.replace(at, name.size(), value);
  };
  replace("{port}", std::to_string(port));
  replace("{port_file}", port_file);
  return word;
}

std::optional<json::value> parsed(const Result<http::Response>& response) {
  if (!response) return std::nullopt;
  boost::system::error_code error;
  auto value = json::parse(response->body, error);
  if (error || !value.is_object()) return std::nullopt;
  return value;
}

std::int64_t number_in(const json::value& object, std::string_view key) {
  const auto* value = object.as_object().if_contains(key);
  const auto* number = value == nullptr ? nullptr : value->if_int64();
  return number == nullptr ? 0 : *number;
}

void add_samples(std::string_view page, std::map<std::string, double>& into) {
  while (!page.empty()) {
    const auto end = std::min(page.find('\n'), page.size());
    const auto line = page.substr(0, end);
    page.remove_prefix(std::min(end + 1, page.size()));
    const auto space = line.rfind(' ');
    if (line.starts_with('#') || space == std::string_view::npos) continue;
    double value = 0;
    const auto number = line.substr(space + 1);
    if (std::from_chars(number.data(), number.data() + number.size(), value).ec == std::errc())
      into[std::string(line.substr(0, space))] += value;
  }
}

// Its wall clock is then what the file says; the clock of its timers stays.
std::vector<std::string> clock_environment(const std::string& clock_file) {
  return {"LD_PRELOAD=/usr/$LIB/faketime/libfaketimeMT.so.1", "FAKETIME_NO_CACHE=1",
          "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_TIMESTAMP_FILE=" + clock_file};
}

}  // namespace

Fleet::Fleet(net::Core& core, const Scenario& scenario, std::string directory)
    : core_(core), scenario_(scenario), directory_(std::move(directory)), pool_(core) {
  for (const auto& spec : scenario.engines) engines_.emplace_back().spec = spec;
  for (std::size_t i = 0; i < scenario.frontends; ++i)
    frontends_.emplace_back().name = "frontend-" + std::to_string(i + 1);
}

std::string Fleet::path(const std::string& name, const char* suffix) const {
  return directory_ + "/" + name + suffix;
}

Engine* Fleet::engine(const std::string& name) {
  const auto it = std::ranges::find(engines_, name, [](auto& e) { return e.spec.name; });
  return it == engines_.end() ? nullptr : &*it;
}

Frontend* Fleet::frontend(const std::string& name) {
  const auto it = std::ranges::find(frontends_, name, &Frontend::name);
  return it == frontends_.end() ? nullptr : &*it;
}

Process* Fleet::process(const std::string& name) {
  if (auto* e = engine(name)) return e->process.get();
  if (auto* f = frontend(name)) return f->process.get();
  return nullptr;
}

std::vector<http::Endpoint> Fleet::entries() const {
  std::vector<http::Endpoint> out;
  out.reserve(frontends_.size());
  for (const auto& frontend : frontends_) out.push_back(frontend.listen);
  if (out.empty() && !engines_.empty()) out.push_back(engines_.front().seen_as());
  return out;
}

int Fleet::engine_index(std::string_view address) const {
  for (std::size_t i = 0; i < engines_.size(); ++i) {
    if (engines_[i].seen_as().to_string() == address) return static_cast<int>(i);
  }
  return -1;
}

Result<std::unique_ptr<Process>> Fleet::spawn(const std::string& name,
                                              std::vector<std::string> arguments,
                                              std::vector<std::string> environment) {
  std::error_code ignored;
  std::filesystem::remove(path(name, ".port"), ignored);
  auto started = Process::start({.name = name,
                                 .arguments = std::move(arguments),
                                 .log_path = path(name, ".log"),
                                 .environment = std::move(environment)});
  if (!started) return std::unexpected(started.error());
  return std::make_unique<Process>(std::move(*started));
}

net::Task<Result<std::string>> Fleet::port_file_of(Process& process, const std::string& name,
                                                   Instant deadline) {
  while (true) {
    auto text = read_file(path(name, ".port"));
    if (!text.empty()) co_return text;
    if (!process.is_running() || net::now() >= deadline) {
      co_return fail(Code::kUnavailable, name + " did not start (" + process.how_ended() +
                                             "): " + tail_of(path(name, ".log"), 2000));
    }
    co_await net::sleep_until(core_, net::now() + kPoll);
  }
}

std::vector<std::string> Fleet::engine_command(const EngineSpec& spec, std::uint16_t port) const {
  const auto port_file = path(spec.name, ".port");
  std::vector<std::string> out;
  out.reserve(spec.command.size());
  for (const auto& word : spec.command) out.push_back(with_port(word, port, port_file));
  if (!out.empty()) return out;
  out = {kSelf,         "engine",     "--listen", "127.0.0.1:" + std::to_string(port),
         "--dialect",   spec.dialect, "--model",  scenario_.model,
         "--port-file", port_file};
  for (const auto& [flag, value] : spec.flags) {
    if (value == "false") continue;
    out.push_back("--" + flag);
    if (value != "true") out.push_back(value);
  }
  return out;
}

net::Task<Result<void>> Fleet::start_engine(std::size_t index, std::uint16_t port,
                                            Instant deadline) {
  auto& engine = engines_[index];
  auto started = spawn(engine.spec.name, engine_command(engine.spec, port));
  if (!started) co_return std::unexpected(started.error());
  engine.process = std::move(*started);
  const auto text = co_await port_file_of(*engine.process, engine.spec.name, deadline);
  if (!text) co_return std::unexpected(text.error());
  auto endpoint = http::parse_endpoint("127.0.0.1:" + text->substr(0, text->find('\n')));
  if (!endpoint) co_return std::unexpected(endpoint.error());
  engine.endpoint = std::move(*endpoint);
  if (!scenario_.links || engine.link) co_return Result<void>{};
  auto link = Link::open(core_, engine.endpoint);
  if (!link) co_return std::unexpected(link.error());
  engine.link = std::move(*link);
  co_return Result<void>{};
}

// The same model, fast, and never touched. A poisonous prompt must not kill it.
net::Task<Result<void>> Fleet::start_oracle(Instant deadline) {
  if (!scenario_.reference.empty()) {
    auto url = http::parse_url(scenario_.reference);
    if (!url) co_return std::unexpected(url.error());
    oracle_ = url->endpoint;
    co_return Result<void>{};
  }
  if (!scenario_.is_simulated()) {
    if (!engines_.empty()) oracle_ = engines_.front().endpoint;
    co_return Result<void>{};
  }
  EngineSpec spec = scenario_.engines.front();
  spec.name = "oracle";
  std::erase_if(spec.flags, [](const auto& flag) {
    return flag.first == "itl-ms" || flag.first == "ttft-ms" || flag.first == "poison-after" ||
           flag.first == "slots";
  });
  for (auto& [flag, value] : std::to_array<std::pair<std::string, std::string>>(
           {{"itl-ms", "0.2"}, {"ttft-ms", "0"}, {"poison-after", "1048576"}, {"slots", "256"}}))
    spec.flags.emplace_back(flag, value);
  auto started = spawn(spec.name, engine_command(spec, 0));
  if (!started) co_return std::unexpected(started.error());
  oracle_process_ = std::move(*started);
  const auto text = co_await port_file_of(*oracle_process_, spec.name, deadline);
  if (!text) co_return std::unexpected(text.error());
  auto endpoint = http::parse_endpoint("127.0.0.1:" + text->substr(0, text->find('\n')));
  if (!endpoint) co_return std::unexpected(endpoint.error());
  oracle_ = std::move(*endpoint);
  co_return Result<void>{};
}

bool Fleet::set_clock(const std::string& name, std::int64_t by_s) {
  // Aside and renamed: it is read at any moment.
  const auto file = path(name, ".clock");
  const auto text = (by_s < 0 ? "" : "+") + std::to_string(by_s) + "\n";
  return write_file(file + ".new", text) && std::rename((file + ".new").c_str(), file.c_str()) == 0;
}

net::Task<Result<void>> Fleet::start_frontend(std::size_t index, Instant deadline) {
  auto& frontend = frontends_[index];
  const bool is_again = frontend.listen.port != 0;
  frontend.access_log = path(frontend.name, ".access");
  const auto port = std::to_string(frontend.listen.port);
  std::vector<std::string> words{kSelf, "serve"};
  for (const auto& engine : engines_)
    words.insert(words.end(), {"--engine", "http://" + engine.seen_as().to_string()});
  words.insert(words.end(),
               {"--listen", "127.0.0.1:" + port, "--system-port",
                std::to_string(is_again ? frontend.system->port : 0), "--admin",
                "127.0.0.1:" + std::to_string(is_again ? frontend.admin->port : 0), "--data-cores",
                std::to_string(scenario_.data_cores), "--port-file", path(frontend.name, ".port")});
  bool has_log = false;
  for (const auto& [flag, value] : scenario_.serve) {
    has_log |= flag == "access-log";
    words.insert(words.end(), {"--" + flag, value});
  }
  if (has_log) frontend.access_log.clear();
  if (!has_log) words.insert(words.end(), {"--access-log", frontend.access_log});
  std::vector<std::string> environment;
  if (scenario_.fake_clock) {
    if (!set_clock(frontend.name, 0))
      co_return fail(Code::kSystem, "cannot write the clock file of " + frontend.name);
    environment = clock_environment(path(frontend.name, ".clock"));
  }
  auto started = spawn(frontend.name, std::move(words), std::move(environment));
  if (!started) co_return std::unexpected(started.error());
  frontend.process = std::move(*started);
  const auto text = co_await port_file_of(*frontend.process, frontend.name, deadline);
  if (!text) co_return std::unexpected(text.error());
  boost::system::error_code error;
  const auto ports = json::parse(*text, error);
  if (error || !ports.is_object())
    co_return fail(Code::kProtocol, frontend.name + " wrote no ports: " + *text);
  const auto at = [&ports](std::string_view key) {
    return http::Endpoint{"127.0.0.1", static_cast<std::uint16_t>(number_in(ports, key))};
  };
  frontend.listen = at("listen");
  frontend.system = at("system");
  frontend.admin = at("admin");
  co_return Result<void>{};
}

Result<void> Fleet::take_urls() {
  for (auto& engine : engines_) {
    if (engine.spec.kind != "url") continue;
    auto url = http::parse_url(engine.spec.url);
    if (!url) return std::unexpected(url.error());
    engine.endpoint = url->endpoint;
  }
  for (std::size_t i = 0; i < scenario_.frontend_urls.size(); ++i) {
    auto url = http::parse_url(scenario_.frontend_urls[i]);
    if (!url) return std::unexpected(url.error());
    frontends_[i].listen = url->endpoint;
    if (i >= scenario_.system_urls.size()) continue;
    auto system = http::parse_url(scenario_.system_urls[i]);
    if (!system) return std::unexpected(system.error());
    frontends_[i].system = system->endpoint;
  }
  return {};
}

net::Task<Result<void>> Fleet::all_ready(Instant deadline) {
  if (frontends_.empty()) co_return Result<void>{};
  if (!frontends_.front().system) co_return Result<void>{};
  const auto wanted = static_cast<std::int64_t>(engines_.size());
  std::optional<std::int64_t> ready;
  while (net::now() < deadline) {
    ready = co_await ready_workers();
    if (ready && (*ready >= wanted && *ready > 0)) co_return Result<void>{};
    co_await net::sleep_until(core_, net::now() + kPoll);
  }
  co_return fail(Code::kTimeout, "the frontends call " + std::to_string(ready.value_or(0)) +
                                     " engines ready, not " + std::to_string(wanted));
}

net::Task<Result<void>> Fleet::start(Instant deadline) {
  auto taken = take_urls();
  if (!taken) co_return taken;
  for (std::size_t i = 0; i < engines_.size(); ++i) {
    if (engines_[i].spec.kind == "url") continue;
    auto started = co_await start_engine(i, 0, deadline);
    if (!started) co_return started;
  }
  auto oracle = co_await start_oracle(deadline);
  if (!oracle) co_return oracle;
  for (std::size_t i = 0; i < frontends_.size(); ++i) {
    if (!scenario_.frontend_urls.empty()) continue;
    auto started = co_await start_frontend(i, deadline);
    if (!started) co_return started;
  }
  if (!oracle_ && !frontends_.empty()) oracle_ = frontends_.front().listen;
  auto ready = co_await all_ready(deadline);
  co_return ready;
}

net::Task<Result<void>> Fleet::start_again(std::string name, Instant deadline) {
  for (std::size_t i = 0; i < engines_.size(); ++i) {
    if (engines_[i].spec.name != name) continue;
    auto started = co_await start_engine(i, engines_[i].endpoint.port, deadline);
    co_return started;
  }
  for (std::size_t i = 0; i < frontends_.size(); ++i) {
    if (frontends_[i].name != name) continue;
    auto started = co_await start_frontend(i, deadline);
    co_return started;
  }
  co_return fail(Code::kNotFound, "there is no " + name);
}

net::Task<std::vector<std::string>> Fleet::end() {
  std::vector<std::string> wrong;
  for (auto& frontend : frontends_) {
    if (!frontend.process) continue;
    if (!frontend.process->is_running()) {
      if (!frontend.may_end)
        wrong.push_back(frontend.name + " " + frontend.process->how_ended() + ": " +
                        tail_of(path(frontend.name, ".log"), 1000));
      continue;
    }
    co_await Process::end(core_, *frontend.process, kEndGrace);
    if (frontend.process->exit_status() != 0)
      wrong.push_back(frontend.name + " did not end in order: " + frontend.process->how_ended());
  }
  for (auto& engine : engines_) {
    if (engine.link) co_await engine.link->stop();
    if (engine.process) co_await Process::end(core_, *engine.process, kEndGrace);
  }
  if (oracle_process_) co_await Process::end(core_, *oracle_process_, kEndGrace);
  co_return wrong;
}

net::Task<Result<http::Response>> Fleet::ask(http::Endpoint to, std::string method,
                                             std::string target, std::string body, Duration limit) {
  http::FetchRequest request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.body = std::move(body);
  if (!request.body.empty()) request.headers.append("Content-Type", "application/json");
  auto response =
      co_await http::fetch(pool_, std::move(to), std::move(request), net::now() + limit, kBodyMax);
  co_return response;
}

net::Task<std::optional<std::int64_t>> Fleet::ready_workers() {
  std::optional<std::int64_t> least;
  for (auto& frontend : frontends_) {
    const bool is_gone = frontend.process && frontend.process->state() != 'S' &&
                         frontend.process->state() != 'R' && frontend.process->state() != 'D';
    if (is_gone || !frontend.system) continue;
    const auto health = parsed(co_await ask(*frontend.system, "GET", "/health"));
    if (!health) continue;
    const auto* workers = health->as_object().if_contains("workers");
    if (workers == nullptr || !workers->is_object()) continue;
    const auto ready = number_in(*workers, "ready");
    least = std::min(least.value_or(ready), ready);
  }
  co_return least;
}

net::Task<std::map<std::string, double>> Fleet::metrics() {
  std::map<std::string, double> out;
  for (auto& frontend : frontends_) {
    if (!frontend.system || (frontend.process && !frontend.process->is_running())) continue;
    const auto page = co_await ask(*frontend.system, "GET", "/metrics");
    if (page && page->status == 200) add_samples(page->body, out);
  }
  co_return out;
}

net::Task<std::optional<EngineStats>> Fleet::stats(const Engine& engine) {
  if (engine.spec.kind != "simulated") co_return std::nullopt;
  const auto page = parsed(co_await ask(engine.endpoint, "GET", "/sim/stats"));
  if (!page) co_return std::nullopt;
  co_return EngineStats{number_in(*page, "running"), number_in(*page, "waiting"),
                        number_in(*page, "tokens"), number_in(*page, "streams")};
}

}  // namespace hf::chaos
