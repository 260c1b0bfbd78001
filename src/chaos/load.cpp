#include "chaos/load.hpp"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "base/random.hpp"
#include "net/clock.hpp"
#include "net/signal.hpp"

namespace hf::chaos {
namespace {

namespace json = boost::json;

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kCompletions = "/v1/completions";
constexpr Duration kAfterRefusal = std::chrono::milliseconds(50);
constexpr Duration kPoll = std::chrono::milliseconds(2);

std::string words_of(const LoadGroup& group, std::uint64_t seed, std::size_t number) {
  std::string out = group.prompt + "Tell story number " + std::to_string(number) + " of run " +
                    std::to_string(seed) + " about the sea, 日本 🎉 and привет.";
  for (std::size_t i = 12; i < group.prompt_words; ++i) out += i % 2 != 0 ? " sea" : " ship";
  return out;
}

/// The streamed ones are spread evenly.
bool is_streamed(const LoadGroup& group, std::size_t number) {
  const auto share = [&](std::size_t n) {
    return static_cast<std::size_t>(static_cast<double>(n) * group.streamed / 100);
  };
  return share(number + 1) > share(number);
}

std::string key_of(const Call& call) {
  return call.path + "\n" + call.body;
}

}  // namespace

Call Load::call_of(const LoadGroup& group, std::size_t member, std::size_t number) const {
  const auto shape = group.prompts == 0 ? number : number % group.prompts;
  const bool is_chat = group.endpoint == "chat" || (group.endpoint == "both" && shape % 2 != 0);
  Call call;
  call.path = is_chat ? kChat : kCompletions;
  call.stream = is_streamed(group, shape);
  call.read_bytes_per_s = group.read_bytes_per_s;
  json::object body{{"model", scenario_.model},
                    {"temperature", 0},
                    {"max_tokens", group.max_tokens},
                    {"ignore_eos", true}};
  if (call.stream) {
    body["stream"] = true;
    body["stream_options"] = json::object{{"include_usage", true}};
  }
  const auto words = words_of(group, seed_, shape);
  if (is_chat) {
    body["messages"] = json::array{json::object{{"role", "user"}, {"content", words}}};
  } else {
    body["prompt"] = words;
  }
  if (group.variety && shape % 4 == 1) body["stop"] = json::array{" zzzzq", "a long stop string"};
  if (group.variety && shape % 4 == 2) body.erase("ignore_eos");
  for (const auto& [key, value] : group.body) {
    if (value.is_null()) {
      body.erase(key);
    } else {
      body[key] = value;
    }
  }
  call.body = json::serialize(body);
  call.request_id = "chaos-" + group.name + "-" + std::to_string(number);
  if (group.sessions) call.user_id = "user-" + std::to_string(member);
  call.to = entries_;
  if (!call.to.empty())
    std::ranges::rotate(call.to,
                        call.to.begin() + static_cast<std::ptrdiff_t>(member % call.to.size()));
  return call;
}

std::vector<Call> Load::known_calls() const {
  std::vector<Call> out;
  for (const auto& group : scenario_.load) {
    auto count = group.clients * group.requests;
    if (group.rate) count = 0;
    if (group.prompts != 0) count = group.prompts;
    for (std::size_t number = 0; number < count; ++number) out.push_back(call_of(group, 0, number));
  }
  return out;
}

void Load::begin_all() {
  for (const auto& group : scenario_.load) {
    if (!group.begins_by_step) begin(group.name);
  }
}

void Load::begin(const std::string& name) {
  const auto it = std::ranges::find(scenario_.load, name, &LoadGroup::name);
  if (it == scenario_.load.end() || std::ranges::count(begun_, name) != 0) return;
  begun_.push_back(name);
  const auto index = static_cast<std::size_t>(it - scenario_.load.begin());
  if (it->rate) {
    ++members_running_;
    core_.spawn(run_open_loop(index), "open loop");
    return;
  }
  for (std::size_t member = 0; member < it->clients; ++member) {
    ++members_running_;
    core_.spawn(run_member(index, member), "client");
  }
}

std::shared_ptr<Client> Load::next_client(std::size_t group, std::size_t member) {
  const auto number = requests_made_[group]++;
  auto client = std::make_shared<Client>(core_, call_of(scenario_.load[group], member, number));
  answers_.push_back({client, group, member});
  return client;
}

net::Task<void> Load::run_member(std::size_t group, std::size_t member) {
  const auto& settings = scenario_.load[group];
  for (std::size_t round = 0; !is_given_up_; ++round) {
    if (settings.requests == 0 ? !is_repeating_ && round > 0 : round >= settings.requests) break;
    const auto client = next_client(group, member);
    co_await Client::run(client);
    // Somebody who is refused does not ask again in the same microsecond.
    if (client->transcript().status != 200)
      co_await net::sleep_until(core_, net::now() + kAfterRefusal);
  }
  --members_running_;
}

net::Task<void> Load::run_one(std::shared_ptr<Client> client) {
  co_await Client::run(client);
  --members_running_;
}

net::Task<void> Load::run_open_loop(std::size_t group) {
  const auto& settings = scenario_.load[group];
  const auto between =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(1 / *settings.rate));
  const Instant end = net::now() + settings.duration;
  // The next is due at its time, however late this one is: an open loop does not wait.
  for (Instant due = net::now(); due < end && !is_given_up_; due += between) {
    co_await net::sleep_until(core_, due);
    ++members_running_;
    core_.spawn(run_one(next_client(group, requests_made_[group])), "request");
  }
  --members_running_;
}

void Load::give_up(const std::string& why) {
  is_given_up_ = true;
  for (const auto& answer : answers_) answer.client->give_up(why);
}

bool Load::all_have(std::size_t tokens) const {
  std::map<std::pair<std::size_t, std::size_t>, bool> members;
  for (const auto& [client, group, member] : answers_) {
    if (!client->call().stream || client->call().read_bytes_per_s) continue;
    auto& has = members[{group, member}];
    has = has || client->has_ended() || client->transcript().ticks.size() >= tokens;
  }
  return !members.empty() && std::ranges::all_of(members, [](const auto& m) { return m.second; });
}

bool Load::have_ended(Instant begun_by) const {
  return std::ranges::all_of(answers_, [begun_by](const auto& answer) {
    return answer.client->has_ended() || answer.client->started_at() > begun_by;
  });
}

std::vector<std::shared_ptr<Client>> Load::running_of(const std::string& group,
                                                      std::size_t count) const {
  std::vector<std::shared_ptr<Client>> out;
  for (const auto& answer : answers_) {
    if (scenario_.load[answer.group].name != group || answer.client->has_ended()) continue;
    if (count != 0 && out.size() >= count) break;
    out.push_back(answer.client);
  }
  return out;
}

net::Task<void> Reference::run_one(std::shared_ptr<Client> client) {
  co_await Client::run(client);
  --running_;
}

net::Task<void> Reference::ask(std::vector<Call> calls, std::size_t at_once, Instant deadline) {
  for (auto& call : calls) {
    auto& known = answers_[key_of(call)];
    if (known) continue;
    while (running_ >= at_once && net::now() < deadline)
      co_await net::sleep_until(core_, net::now() + kPoll);
    call.to = {oracle_};
    call.read_bytes_per_s.reset();
    known = std::make_shared<Client>(core_, std::move(call));
    ++running_;
    core_.spawn(run_one(known), "reference");
  }
  while (running_ > 0 && net::now() < deadline)
    co_await net::sleep_until(core_, net::now() + kPoll);
  for (const auto& [key, client] : answers_) client->give_up("no right answer within the time");
  while (running_ > 0) co_await net::sleep_until(core_, net::now() + kPoll);
}

const Transcript& Reference::answer_to(const Call& call) const {
  static const Transcript none;
  const auto it = answers_.find(key_of(call));
  return it == answers_.end() ? none : it->second->transcript();
}

}  // namespace hf::chaos
