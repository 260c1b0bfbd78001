#include "config/keys.hpp"

#include <span>
#include <utility>

#include "config/field_kinds.hpp"
#include "frontend/routes.hpp"
#include "frontend/session_key.hpp"
#include "routing/policy.hpp"

namespace hf::config {
namespace {

using core::MigrationOptions;
using frontend::EngineOptions;
using frontend::ModelOptions;
using frontend::ServeOptions;
using Key = Field<ServeOptions>;
using Keys = std::vector<Key>;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::int64_t kMany = std::int64_t{1} << 40;
constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kTiB = kKiB * kKiB * kKiB * kKiB;

Result<std::string> address(std::string_view text) {
  if (auto endpoint = http::parse_endpoint(text); !endpoint)
    return std::unexpected(endpoint.error());
  return std::string(text);
}

Result<std::string> address_or_off(std::string_view text) {
  return text == "off" ? Result<std::string>("off") : address(text);
}

template <class Get>
Key address_key(std::string name, Get get, std::string help) {
  return single<ServeOptions, std::string>(
      std::move(name), "host:port", get, address, [](const std::string& value) { return value; },
      std::move(help));
}

// An engine is a URL, or a map with its url and what else is known of it.
void read_engine(EngineOptions& engine, const Node& node, const std::string& place,
                 Problems& problems) {
  if (node.kind == Node::Kind::kMap) {
    const auto before = problems.list().size();
    set_members(engine, engine_keys(), node, place, problems);
    if (engine.endpoint.host.empty() && problems.list().size() == before)
      problems.add(node.line, place + ".url is missing; give http://host:port");
    return;
  }
  engine_keys().front().set(engine, node, place, problems);
}

void read_engines(ServeOptions& options, const Node& node, const std::string& place,
                  Problems& problems) {
  std::vector<Node> entries = node.items;
  std::vector<std::string> words;
  if (node.kind == Node::Kind::kScalar && read_words(node, words)) {
    for (auto& word : words) {
      entries.push_back(Node::scalar(std::move(word)));
      entries.back().line = node.line;
    }
  } else if (node.kind != Node::Kind::kList) {
    return problems.add(node.line, place + " is a list of URLs");
  }
  options.engines.clear();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    EngineOptions engine;
    read_engine(engine, entries[i], place + "[" + std::to_string(i) + "]", problems);
    const auto same = [&](const auto& other) { return other.endpoint == engine.endpoint; };
    if (!engine.endpoint.host.empty() && std::ranges::any_of(options.engines, same))
      problems.add(entries[i].line,
                   place + ": http://" + engine.endpoint.to_string() + " is given twice");
    options.engines.push_back(std::move(engine));
  }
}

Key engines_key() {
  Key key;
  key.name = "engines";
  key.type = "list of URLs or maps";
  key.help = "an engine, `http://host:port`; the flag is repeated, the variable takes commas";
  key.set = read_engines;
  key.show = [](const ServeOptions& options) {
    std::vector<std::string> words;
    for (const auto& engine : options.engines) {
      words.push_back("http://" + engine.endpoint.to_string());
      if (!engine.api_key_env.empty()) words.back() += " (key from " + engine.api_key_env + ")";
    }
    return show_words(words);
  };
  key.copy = [](ServeOptions& to, const ServeOptions& from) { to.engines = from.engines; };
  return key.on_reload();
}

Key models_key() {
  Key key;
  key.name = "models";
  key.type = "map";
  key.help = "`models: {NAME: {…}}`: what differs for one model; its keys are below";
  key.set = [](ServeOptions& options, const Node& node, const std::string& place,
               Problems& problems) {
    if (node.kind != Node::Kind::kMap)
      return problems.add(node.line, place + " is a map from a model's name to its settings");
    options.models.clear();
    for (const auto& [name, settings] : node.members)
      set_members(options.models[name], model_keys(), settings,
                  std::string(place).append(".").append(name), problems);
  };
  key.show = [](const ServeOptions& options) {
    std::string out;
    for (const auto& [name, model] : options.models) {
      out += (out.empty() ? "" : "; ") + name + ":";
      for (const auto& field : model_keys()) {
        if (const auto value = field.show(model); value != field.show(ModelOptions()))
          out += " " + field.name + " " + value;
      }
    }
    return out;
  };
  key.copy = [](ServeOptions& to, const ServeOptions& from) { to.models = from.models; };
  return key.on_reload();
}

void add_addresses(Keys& keys) {
  keys.push_back(engines_key());
  keys.push_back(models_key());
  keys.push_back(address_key(
      "listen", [](auto& o) -> auto& { return o.listen; },
      "where clients connect; port 0 takes a free one"));
  keys.push_back(count_field<ServeOptions>(
      "system_port", [](auto& o) -> auto& { return o.system_port; }, 0, 65535,
      "`/live`, `/ready`, `/health`, `/metrics`; 0 takes a free one"));
  keys.back().also_variable("DYN_SYSTEM_PORT");
  keys.push_back(text_field<ServeOptions>(
      "system_host", "address", [](auto& o) -> auto& { return o.system_host; },
      "where the system port listens; `0.0.0.0` where a kubelet asks"));
  keys.push_back(single<ServeOptions, std::string>(
      "admin", "host:port | off", [](auto& o) -> auto& { return o.admin; }, address_or_off,
      [](const std::string& value) { return value; },
      "address of the admin API; in the file also `admin: {listen: …}`"));
  keys.back().also_name = "admin.listen";
  keys.push_back(text_field<ServeOptions>(
      "admin.token", "secret", [](auto& o) -> auto& { return o.admin_token; },
      "bearer token of the admin API, needed where `admin` is not loopback; better in its "
      "variable than in a flag"));
  keys.back().secret();
  keys.push_back(count_field<ServeOptions>(
      "data_cores", [](auto& o) -> auto& { return o.data_cores; }, 1, 64,
      "threads that serve clients"));
  keys.push_back(text_field<ServeOptions>(
      "access_log", "path", [](auto& o) -> auto& { return o.access_log; },
      "a JSON line a request goes to this file; `-` is standard output"));
  keys.push_back(text_field<ServeOptions>(
      "port_file", "path", [](auto& o) -> auto& { return o.port_file; },
      "`{\"listen\":PORT,\"system\":PORT,\"admin\":PORT}` is written there when listening"));
  keys.push_back(choice_field<ServeOptions, bool>(
      "config.unknown", [](auto& o) -> auto& { return o.warn_of_unknown_keys; },
      {{"error", false}, {"warn", true}},
      "what an unknown key of the file is; `warn` lets an older release read a newer file"));
}

void add_routing(Keys& keys) {
  keys.push_back(single<ServeOptions, std::string>(
      "routing", "policy", [](auto& o) -> auto& { return o.routing; },
      [](std::string_view text) -> Result<std::string> {
        if (auto policy = routing::make_policy(text, {}); !policy)
          return std::unexpected(policy.error());
        return std::string(text);
      },
      [](const std::string& value) { return value; },
      "who gets a request: `least-loaded`, `session`, `p2c`, `round-robin` or `random`"));
  keys.push_back(single<ServeOptions, std::string>(
      "session_key", "name", [](auto& o) -> auto& { return o.session_key; },
      [](std::string_view text) -> Result<std::string> {
        if (auto key = frontend::parse_session_key(text); !key) return std::unexpected(key.error());
        return std::string(text);
      },
      [](const std::string& value) { return value; },
      "with `routing: session`, what names a session: a header, `cookie:NAME` or `body:FIELD`"));
}

Key modes_key() {
  Key key;
  key.name = "continuation.modes";
  key.type = "list of restart, tokens, text";
  key.help = "how broken requests may go on; `[]` turns migration off";
  key.set = [](ServeOptions& options, const Node& node, const std::string& place,
               Problems& problems) {
    std::vector<std::string> words;
    if (!read_words(node, words))
      return problems.add(node.line, place + " is a list, as [restart, tokens]");
    auto& migration = options.migration;
    migration.restart = migration.tokens = migration.text = false;
    for (const auto& word : words) {
      if (word == "restart") {
        migration.restart = true;
      } else if (word == "tokens") {
        migration.tokens = true;
      } else if (word == "text") {
        migration.text = true;
      } else {
        problems.add(node.line, std::string(place)
                                    .append(": unknown mode '")
                                    .append(word)
                                    .append("'; give some of restart, tokens, text, or []"));
      }
    }
  };
  key.show = [](const ServeOptions& options) {
    std::vector<std::string> words;
    if (options.migration.restart) words.emplace_back("restart");
    if (options.migration.tokens) words.emplace_back("tokens");
    if (options.migration.text) words.emplace_back("text");
    return show_words(words);
  };
  key.copy = [](ServeOptions& to, const ServeOptions& from) {
    to.migration.restart = from.migration.restart;
    to.migration.tokens = from.migration.tokens;
    to.migration.text = from.migration.text;
  };
  return key.on_reload();
}

void add_continuation(Keys& keys) {
  keys.push_back(modes_key());
  keys.push_back(choice_field<ServeOptions, bool>(
      "continuation.identity", [](auto& o) -> auto& { return o.migration.strict_identity; },
      {{"prefer", false}, {"strict", true}},
      "`prefer`: another build of an engine may go on, told as approximate; `strict`: only the "
      "same build and model"));
  keys.back().on_reload();
  keys.push_back(choice_field<ServeOptions, bool>(
      "continuation.inject_seed", [](auto& o) -> auto& { return o.inject_seed; },
      {{"off", false}, {"exact", true}},
      "`exact`: a seed goes into sampled requests where a probe proved that it makes resumes "
      "equal"));
  keys.back().on_reload().no_effect_yet();
  keys.push_back(size_field<ServeOptions>(
      "continuation.bytes_max", [](auto& o) -> auto& { return o.continuation_bytes_max; }, kKiB,
      kTiB, "bodies and ledgers of all requests; above it new ones are shed"));
  keys.back().on_reload();
}

void add_waiting(Keys& keys) {
  const auto add = [&keys](std::string name, auto get, Duration min, Duration max,
                           std::string help) {
    keys.push_back(duration_field<ServeOptions>(std::move(name), get, min, max, std::move(help)));
    keys.back().on_reload();
  };
  add(
      "admission.hold", [](auto& o) -> auto& { return o.migration.admission_hold; }, Duration(0),
      hours(1), "that a new request waits for a worker");
  keys.push_back(count_field<ServeOptions>(
      "admission.queue_max", [](auto& o) -> auto& { return o.admission_queue_max; }, 0, kMany,
      "requests that wait for a worker; 0 sheds at once"));
  keys.back().on_reload();
  keys.push_back(size_field<ServeOptions>(
      "admission.queue_bytes_max", [](auto& o) -> auto& { return o.admission_queue_bytes_max; }, 0,
      kTiB, "bodies of the requests that wait for a worker"));
  keys.back().on_reload();
  add(
      "resume.hold", [](auto& o) -> auto& { return o.migration.resume_hold; }, Duration(0),
      hours(1), "that a started stream waits for a worker");
  keys.push_back(count_field<ServeOptions>(
      "resume.prefill_tokens_max", [](auto& o) -> auto& { return o.resume_prefill_tokens_max; }, 1,
      kMany, "prefill of continuations outstanding on one worker, tokens"));
  add(
      "token_limit", [](auto& o) -> auto& { return o.migration.token_limit; }, milliseconds(10),
      hours(1), "between two tokens; above it the attempt has failed");
  add(
      "first_token_limit", [](auto& o) -> auto& { return o.migration.first_token_limit; },
      milliseconds(10), hours(24), "to the first token; above it the attempt has failed");
  add(
      "hedge.after", [](auto& o) -> auto& { return o.migration.hedge_after; }, milliseconds(10),
      hours(1), "of silence between tokens, then another worker starts too");
  add(
      "hedge.first_token", [](auto& o) -> auto& { return o.migration.first_token_hedge; },
      milliseconds(10), hours(1), "without a first token, then another worker starts too");
  add(
      "comment_every", [](auto& o) -> auto& { return o.migration.comment_every; },
      milliseconds(100), hours(1), "`: waiting` in a started stream that waits for a worker");
  keys.push_back(count_field<ServeOptions>(
      "retry.attempts", [](auto& o) -> auto& { return o.migration.attempts_without_progress; }, 1,
      100, "attempts without progress before a request ends in an error"));
  keys.back().on_reload();
  add(
      "retry.after_max", [](auto& o) -> auto& { return o.migration.retry_after_max; }, Duration(0),
      hours(1), "the longest `Retry-After` of an engine that is obeyed");
  add(
      "connect_timeout", [](auto& o) -> auto& { return o.connect_timeout; }, milliseconds(10),
      minutes(10), "to connect to an engine");
  add(
      "probe_timeout", [](auto& o) -> auto& { return o.probe_timeout; }, milliseconds(10),
      minutes(1), "of one health probe");
  keys.push_back(duration_field<ServeOptions>(
      "lame_duck", [](auto& o) -> auto& { return o.lame_duck; }, Duration(0), hours(1),
      "after SIGTERM new connections are still taken, while `/ready` is 503 already; 5s where "
      "`KUBERNETES_SERVICE_HOST` is set"));
  keys.push_back(duration_field<ServeOptions>(
      "drain_limit", [](auto& o) -> auto& { return o.drain_limit; }, Duration(0), hours(24),
      "that running requests have after SIGTERM"));
}

void add_limits(Keys& keys) {
  const auto take = [&keys](Key key) {
    keys.push_back(std::move(key));
    keys.back().on_reload();
  };
  const auto time = [&take](std::string name, auto get, std::string help) {
    take(duration_field<ServeOptions>(std::move(name), get, milliseconds(10), hours(24),
                                      std::move(help)));
  };
  take(size_field<ServeOptions>(
      "limits.body_bytes_max", [](auto& o) -> auto& { return o.limits.body_bytes_max; }, kKiB, kTiB,
      "of a request's body; above it 413"));
  take(size_field<ServeOptions>(
      "limits.header_bytes_max", [](auto& o) -> auto& { return o.limits.header_bytes_max; }, kKiB,
      kKiB* kKiB, "of a request's head; above it 431"));
  take(count_field<ServeOptions>(
      "limits.connections_max", [](auto& o) -> auto& { return o.limits.connections_max; }, 0, kMany,
      "client connections; 0 is no limit"));
  take(count_field<ServeOptions>(
      "limits.running_max", [](auto& o) -> auto& { return o.limits.running_max; }, 0, kMany,
      "requests in progress; 0 is no limit"));
  time(
      "limits.idle_timeout", [](auto& o) -> auto& { return o.limits.idle_timeout; },
      "that a connection may wait for its next request");
  time(
      "limits.header_timeout", [](auto& o) -> auto& { return o.limits.header_timeout; },
      "from a request's first byte to the end of its head");
  time(
      "limits.body_timeout", [](auto& o) -> auto& { return o.limits.body_timeout; },
      "for each 16 KiB of a body");
  time(
      "limits.slow_client_timeout", [](auto& o) -> auto& { return o.limits.slow_client_timeout; },
      "without a byte taken of an answer, then the client is cut");
}

void add_clients(Keys& keys) {
  const auto take = [&keys](Key key) {
    keys.push_back(std::move(key));
    keys.back().on_reload().no_effect_yet();
  };
  keys.push_back(words_field<ServeOptions>(
      "proxy.paths", "list of paths", [](auto& o) -> auto& { return o.proxy_paths; },
      [](const std::string& path) -> Result<void> {
        const auto table = frontend::RouteTable::of(std::span(&path, 1));
        return table ? Result<void>() : std::unexpected(table.error());
      },
      "endpoints besides chat and completions: `all`, or those of docs/endpoints.md"));
  keys.back().on_reload();
  keys.push_back(choice_field<ServeOptions, frontend::Auth>(
      "auth", [](auto& o) -> auto& { return o.auth; },
      {{"none", frontend::Auth::kNone}, {"passthrough", frontend::Auth::kPassthrough}},
      "`passthrough`: the client's Authorization goes on to the engine, instead of its key"));
  keys.back().on_reload();
  take(words_field<ServeOptions>(
      "trusted_proxies", "list of addresses", [](auto& o) -> auto& { return o.trusted_proxies; },
      nullptr, "whose `x-holdfast-priority`, `-deadline-ms` and `-tenant` count"));
  take(choice_field<ServeOptions, frontend::OnDisconnect>(
      "on_disconnect", [](auto& o) -> auto& { return o.on_disconnect; },
      {{"kill", frontend::OnDisconnect::kKill},
       {"stop", frontend::OnDisconnect::kStop},
       {"finish", frontend::OnDisconnect::kFinish}},
      "what a client that leaves means for its request: `kill` and `stop` end it, `finish` lets "
      "it run to its end, at most 10 minutes"));
  keys.back().has_effect = true;
}

void add_health(Keys& keys) {
  keys.push_back(switch_field<ServeOptions>(
      "canary.enabled", [](auto& o) -> auto& { return o.canary.enabled; },
      "a 1-token request to each idle engine; true where `KUBERNETES_SERVICE_HOST` is set"));
  keys.back().no_effect_yet().also_variable("DYN_HEALTH_CHECK_ENABLED");
  keys.push_back(duration_field<ServeOptions>(
      "canary.wait_time", [](auto& o) -> auto& { return o.canary.wait_time; }, milliseconds(100),
      hours(24), "without progress of real traffic before a canary"));
  keys.back().no_effect_yet().also_variable("DYN_CANARY_WAIT_TIME");
  keys.push_back(duration_field<ServeOptions>(
      "canary.timeout", [](auto& o) -> auto& { return o.canary.timeout; }, milliseconds(10),
      hours(1), "of a canary"));
  keys.back().no_effect_yet().also_variable("DYN_HEALTH_CHECK_REQUEST_TIMEOUT");
  keys.push_back(single<ServeOptions, std::optional<double>>(
      "active_decode_blocks_threshold", "0…1 or none",
      [](auto& o) -> auto& { return o.active_decode_blocks_threshold; },
      maybe<double>(within<double>(parse_number, 0, 1, "0…1")),
      maybe<double>(Show<double>(show_number)),
      "share of KV blocks in use that makes a worker busy"));
  keys.back().on_reload().no_effect_yet().also_variable("DYN_ACTIVE_DECODE_BLOCKS_THRESHOLD");
  keys.push_back(single<ServeOptions, std::optional<std::int64_t>>(
      "active_prefill_tokens_threshold", "tokens or none",
      [](auto& o) -> auto& { return o.active_prefill_tokens_threshold; },
      maybe<std::int64_t>(within<std::int64_t>(parse_count, 0, kMany, "0 or more tokens")),
      maybe<std::int64_t>([](const std::int64_t& value) { return std::to_string(value); }),
      "prefill tokens under way that make a worker busy"));
  keys.back().on_reload().no_effect_yet().also_variable("DYN_ACTIVE_PREFILL_TOKENS_THRESHOLD");
}

// Key a.b_c is --a-b-c and HOLDFAST_A_B_C.
void name_flag_and_variable(Key& key) {
  if (key.name == "models") return;  // too much for a flag
  const std::string name = key.name == "engines" ? "engine" : key.name;
  key.flag = "--" + name;
  key.variable = "HOLDFAST_" + name;
  for (auto& c : key.flag) c = c == '.' || c == '_' ? '-' : c;
  for (auto& c : key.variable)
    c = c == '.' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c);
}

Result<http::Endpoint> engine_url(std::string_view text) {
  auto url = http::parse_url(text);
  if (!url) return std::unexpected(url.error());
  if (!url->path.empty())
    return fail(Code::kUnsupported, "'" + std::string(text) +
                                        "': a path prefix is not supported; give http://host:port");
  return url->endpoint;
}

}  // namespace

const std::vector<Field<ServeOptions>>& serve_keys() {
  static const Keys keys = [] {
    Keys out;
    add_addresses(out);
    add_routing(out);
    add_continuation(out);
    add_waiting(out);
    add_limits(out);
    add_clients(out);
    add_health(out);
    for (auto& key : out) name_flag_and_variable(key);
    return out;
  }();
  return keys;
}

const std::vector<Field<ModelOptions>>& model_keys() {
  static const auto keys = [] {
    std::vector<Field<ModelOptions>> out;
    out.push_back(words_field<ModelOptions>(
        "fallback", "list of models", [](auto& o) -> auto& { return o.fallback; }, nullptr,
        "models to try before the first token when this one has no worker, in order"));
    out.push_back(maybe_duration_field<ModelOptions>(
        "admission.hold", [](auto& o) -> auto& { return o.admission_hold; }, Duration(0), hours(1),
        "as `admission.hold`; minutes for a model that scales from zero"));
    out.push_back(maybe_duration_field<ModelOptions>(
        "first_token_limit", [](auto& o) -> auto& { return o.first_token_limit; }, seconds(1),
        hours(24), "as `first_token_limit`"));
    out.push_back(maybe_duration_field<ModelOptions>(
        "token_limit", [](auto& o) -> auto& { return o.token_limit; }, milliseconds(10), hours(1),
        "as `token_limit`"));
    out.push_back(single<ModelOptions, std::optional<bool>>(
        "continuation.text", "true | false", [](auto& o) -> auto& { return o.text; },
        maybe<bool>(parse_switch),
        maybe<bool>([](const bool& value) { return std::string(value ? "true" : "false"); }),
        "mode `text` for this model, whatever `continuation.modes` says"));
    return out;
  }();
  return keys;
}

const std::vector<Field<EngineOptions>>& engine_keys() {
  static const auto keys = [] {
    std::vector<Field<EngineOptions>> out;
    out.push_back(single<EngineOptions, http::Endpoint>(
        "url", "http://host:port", [](auto& o) -> auto& { return o.endpoint; }, engine_url,
        [](const http::Endpoint& value) { return "http://" + value.to_string(); },
        "where the engine is"));
    out.push_back(text_field<EngineOptions>(
        "api_key_env", "name of a variable", [](auto& o) -> auto& { return o.api_key_env; },
        "the environment variable that holds its API key, for probes and requests"));
    return out;
  }();
  return keys;
}

}  // namespace hf::config
