// The simulated twins of behaviour.md §14: the same names as the tests on real processes.
#include <algorithm>
#include <map>
#include <string>

#include "simulator/world.hpp"
#include "simulator/world_plan.hpp"

namespace hf::simulator {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kForEver = seconds(3'000);

Duration span(Random& random, std::int64_t low_ms, std::int64_t high_ms) {
  return milliseconds(low_ms) +
         milliseconds(random.below(static_cast<std::uint64_t>(high_ms - low_ms + 1)));
}

EngineTraits plain_engine(Random& random, bool llama) {
  EngineTraits traits;
  traits.options.dialect = llama ? Dialect::kLlama : Dialect::kVllm;
  traits.options.seed = random.next();
  traits.options.eos_every = 0;
  traits.options.model_len = 8'192;
  traits.options.slots = 64;
  traits.options.itl = milliseconds(10);
  traits.options.ttft = milliseconds(10);
  traits.options.prefill_tokens_per_s = 20'000;
  return traits;
}

// Streams that begin together and still run when the fault comes.
RequestDraw plain_stream(Random& random, std::size_t number) {
  const auto& words = Vocabulary::standard();
  RequestDraw request;
  request.number = number;
  request.spec.model = "sim";
  const bool chat = number % 2 == 1;
  request.spec.endpoint = chat ? core::Endpoint::kChat : core::Endpoint::kCompletions;
  for (int i = 0; i < 8; ++i) {
    const auto openers = words.openers();
    const TokenId id = openers[random.below(openers.size())];
    request.prompt_text += words.detokenize(std::span(&id, 1));
  }
  if (chat) request.prompt_text = "<|im_start|>user\n" + request.prompt_text + "<|im_end|>";
  request.spec.prompt_tokens_estimate =
      static_cast<std::int64_t>(request.prompt_text.size() / 4 + 1);
  request.spec.tokens_allowed = {true, true};
  request.spec.adds_fields = {true, true};
  request.spec.default_max = {chat ? 0 : 16, 0};
  request.spec.drops_held_text = {false, true};
  request.spec.include_usage = true;
  request.spec.greedy = true;
  request.params.temperature = 0;
  request.params.max_tokens = static_cast<std::int32_t>(150 + random.below(60));
  request.spec.max_tokens = request.params.max_tokens;
  request.arrives = milliseconds(100) + span(random, 0, 300);
  return request;
}

void lengthen_prompts(Random& random, WorldDraw& draw) {
  const auto& words = Vocabulary::standard();
  for (auto& request : draw.requests) {
    while (request.prompt_text.size() < 6'000) {
      const auto openers = words.openers();
      const TokenId id = openers[random.below(openers.size())];
      request.prompt_text += words.detokenize(std::span(&id, 1));
    }
    request.spec.prompt_tokens_estimate = static_cast<std::int64_t>(request.prompt_text.size() / 4);
  }
}

// For good, or so that it is found to be as fast as the other again, after more than a minute.
void worker_slow(Random& random, WorldDraw& draw, Duration at) {
  draw.faults = {{at, 0, Fault::kSlow, kForEver}};
  if (random.chance(0.5)) return;
  draw.faults[0].how_long = seconds(20);
  for (std::size_t i = 0; i < 20; ++i) {
    draw.requests.push_back(plain_stream(random, draw.requests.size()));
    draw.requests.back().arrives = seconds(50) + static_cast<std::int64_t>(i) * seconds(1);
  }
}

// What the rate is measured on: three workers, 32 tokens in the middle, a fault for ten requests.
void mixed_faults(Random& random, WorldDraw& draw, Duration) {
  draw.engines.push_back(plain_engine(random, draw.engines[0].options.dialect == Dialect::kLlama));
  for (auto& request : draw.requests) {
    request.params.max_tokens = static_cast<std::int32_t>(16 + random.below(33));
    request.spec.max_tokens = request.params.max_tokens;
    request.arrives = span(random, 100, 6'000);
  }
  for (std::size_t i = 0; i < draw.requests.size() / 10; ++i) {
    draw.faults.push_back({span(random, 300, 6'000), random.below(draw.engines.size()),
                           static_cast<Fault>(random.below(kFaultCount)),
                           span(random, 100, 2'000)});
  }
}

// The slow one is the last one left, and fails too.
void slow_errors(Random& random, WorldDraw& draw, Duration at) {
  const bool llama = draw.engines[0].options.dialect == Dialect::kLlama;
  for (int i = 0; i < 2; ++i) draw.engines.push_back(plain_engine(random, llama));
  draw.faults = {{at, 0, Fault::kSlow, seconds(60)}};
  for (std::size_t i = 1; i < draw.engines.size(); ++i)
    draw.faults.push_back({at + seconds(5), i, Fault::kKill, seconds(5)});
  draw.faults.push_back(
      {at + seconds(6) + span(random, 0, 500), 0, Fault::kReset, milliseconds(1)});
  for (auto& request : draw.requests) {  // so long that they are there
    if (request.number % 2 == 1) request.params.max_tokens += 600;
    request.spec.max_tokens = request.params.max_tokens;
  }
}

// One after the other, as a deployment does; the second is not there yet when the frontend starts.
void worker_restart(Random& random, WorldDraw& draw, Duration at) {
  draw.faults = {{at, 0, Fault::kTerm, span(random, 500, 1'500)},
                 {Duration{}, 1, Fault::kKill, milliseconds(300)},
                 {at + seconds(3), 1, Fault::kTerm, span(random, 500, 1'500)}};
}

// Engines stop in one order and come back in another (FoundationDB's name for it).
void swizzle(Random& random, WorldDraw& draw, Duration at) {
  const bool llama = draw.engines[0].options.dialect == Dialect::kLlama;
  for (int i = 0; i < 2; ++i) draw.engines.push_back(plain_engine(random, llama));
  for (std::size_t i = 0; i < draw.engines.size(); ++i) {
    const auto fault = random.chance(0.5) ? Fault::kKill : Fault::kFreeze;
    draw.faults.push_back({at + static_cast<std::int64_t>(i) * milliseconds(400), i, fault,
                           seconds(2) + span(random, 0, 4'000)});
  }
}

void all_dead(Random& random, WorldDraw& draw, Duration at) {
  draw.faults = {{at, 0, Fault::kKill, kForEver},
                 {at + span(random, 0, 20), 1, Fault::kKill, seconds(3)}};
  for (std::size_t i = 0; i < 10; ++i) {  // these find nobody there
    draw.requests.push_back(plain_stream(random, draw.requests.size()));
    draw.requests.back().arrives = at + span(random, 50, 1'500);
  }
}

// Some in prefill, most in decode, a few while a dead worker's streams look for another.
void cancel_all(Random& random, WorldDraw& draw, core::CancelMode mode) {
  draw.faults = {{milliseconds(900), 0, Fault::kKill, seconds(2)}};
  for (auto& request : draw.requests) {
    request.cancelled_after = span(random, 0, 1'000);
    request.cancel_mode = mode;
  }
}

using Shape = void (*)(Random&, WorldDraw&, Duration);

const std::map<std::string_view, Shape>& shapes() {
  static const std::map<std::string_view, Shape> table = {
      {"worker_kill", [](Random&, WorldDraw& draw,
                         Duration at) { draw.faults = {{at, 0, Fault::kKill, kForEver}}; }},
      {"worker_hang",
       [](Random& random, WorldDraw& draw, Duration at) {
         draw.faults = {{at, 0, Fault::kFreeze, span(random, 4'000, 9'000)}};
       }},
      {"engine_wedged", [](Random&, WorldDraw& draw,
                           Duration at) { draw.faults = {{at, 0, Fault::kWedge, seconds(60)}}; }},
      {"worker_slow", worker_slow},
      {"worker_restart", worker_restart},
      {"swizzle", swizzle},
      {"partition",
       [](Random& random, WorldDraw& draw, Duration at) {
         draw.faults = {{at, 0, Fault::kPartition, span(random, 4'000, 9'000)}};
       }},
      {"slow_errors", slow_errors},
      {"mixed_faults", mixed_faults},
      {"prefill_pauses",
       [](Random&, WorldDraw& draw, Duration at) {
         for (int i = 0; i < 3; ++i)
           draw.faults.push_back({at + i * milliseconds(3'600), 0, Fault::kPause, seconds(3)});
       }},
      {"slow_reader",
       [](Random& random, WorldDraw& draw, Duration) {
         for (auto& request : draw.requests) {
           request.stops_reading_at = 5;
           request.stops_reading_for = span(random, 8'000, 20'000);
         }
       }},
      {"frontend_pause",
       [](Random&, WorldDraw& draw, Duration at) { draw.pauses = {{at, 0, seconds(3)}}; }},
      {"resume_storm",
       [](Random& random, WorldDraw& draw, Duration at) {
         lengthen_prompts(random, draw);
         draw.faults = {{at + milliseconds(1'200), 0, Fault::kKill, kForEver}};
       }},
      {"poison_request",
       [](Random& random, WorldDraw& draw, Duration) {
         const bool llama = draw.engines[0].options.dialect == Dialect::kLlama;
         draw.engines.push_back(plain_engine(random, llama));
         draw.engines.push_back(plain_engine(random, llama));
         auto poison = plain_stream(random, draw.requests.size());
         poison.poison = true;
         poison.arrives = milliseconds(700);
         draw.requests.push_back(std::move(poison));
       }},
      {"all_dead", all_dead},
      {"cancel_stop", [](Random& random, WorldDraw& draw,
                         Duration) { cancel_all(random, draw, core::CancelMode::kStop); }},
      {"cancel_kill", [](Random& random, WorldDraw& draw,
                         Duration) { cancel_all(random, draw, core::CancelMode::kKill); }},
      {"client_gone",
       [](Random& random, WorldDraw& draw, Duration) {
         for (auto& request : draw.requests) request.leaves_after = span(random, 0, 1'500);
       }},
  };
  return table;
}

struct Moment {
  std::string_view name;
  Trap::Phase phase;
};
constexpr Moment kMoments[] = {
    {"queue", Trap::Phase::kArrival}, {"connect", Trap::Phase::kOpen},
    {"prefill", Trap::Phase::kHead},  {"first_token", Trap::Phase::kToken},
    {"middle", Trap::Phase::kToken},  {"last_token", Trap::Phase::kToken},
    {"finish", Trap::Phase::kFinish}, {"recovery", Trap::Phase::kResume},
};

// What each scenario does, as something that strikes one stream's engine, client or frontend.
bool act_of(Random& random, std::string_view scenario, Trap& trap) {
  struct Row {
    std::string_view name;
    Trap::Act act;
    Fault fault;
    Duration how_long;
  };
  const Row rows[] = {
      {"worker_kill", Trap::Act::kEngine, Fault::kKill, span(random, 500, 4'000)},
      {"worker_hang", Trap::Act::kEngine, Fault::kFreeze, span(random, 2'000, 9'000)},
      {"engine_wedged", Trap::Act::kEngine, Fault::kWedge, span(random, 6'000, 20'000)},
      {"worker_slow", Trap::Act::kEngine, Fault::kSlow, span(random, 5'000, 20'000)},
      {"prefill_pauses", Trap::Act::kEngine, Fault::kPause, seconds(3)},
      {"slow_reader", Trap::Act::kPauseReading, Fault::kKill, span(random, 3'000, 12'000)},
      {"frontend_pause", Trap::Act::kPauseFrontend, Fault::kKill, seconds(3)},
      {"resume_storm", Trap::Act::kEngine, Fault::kReset, milliseconds(1)},
      {"poison_request", Trap::Act::kEngine, Fault::kKill, milliseconds(20)},
      {"all_dead", Trap::Act::kEngine, Fault::kKill, seconds(3)},
      {"cancel_stop", Trap::Act::kStop, Fault::kKill, {}},
      {"cancel_kill", Trap::Act::kKill, Fault::kKill, {}},
      {"client_gone", Trap::Act::kLeave, Fault::kKill, {}},
      {"partition", Trap::Act::kEngine, Fault::kPartition, span(random, 1'000, 9'000)},
      {"worker_restart", Trap::Act::kEngine, Fault::kTerm, span(random, 500, 3'000)},
      {"mixed_faults", Trap::Act::kEngine, Fault::kRefuse, span(random, 100, 2'000)},
      {"slow_errors", Trap::Act::kEngine, Fault::kEarlyEnd, milliseconds(1)},
      {"swizzle", Trap::Act::kEngine, Fault::kCoreDies, span(random, 500, 3'000)},
  };
  const auto* found = std::ranges::find(rows, scenario, &Row::name);
  if (found == std::end(rows)) return false;
  trap.act = found->act;
  trap.fault = found->fault;
  trap.how_long = found->how_long;
  trap.everywhere = scenario == "all_dead";
  return true;
}

}  // namespace

bool draw_scenario(std::uint64_t seed, std::string_view name, WorldDraw& draw) {
  const auto found = shapes().find(name);
  if (found == shapes().end()) return false;
  Random random(mix64(seed ^ 0xfa17));
  draw = {};
  const bool llama = random.chance(0.5);
  draw.engines = {plain_engine(random, llama), plain_engine(random, llama)};
  draw.cores = 2;
  for (std::size_t i = 0; i < 50; ++i) draw.requests.push_back(plain_stream(random, i));
  found->second(random, draw, span(random, 700, 1'200));
  return true;
}

std::vector<std::string_view> scenario_names() {
  std::vector<std::string_view> names;
  for (const auto& [name, shape] : shapes()) names.push_back(name);
  return names;
}

std::vector<std::string_view> phase_names() {
  std::vector<std::string_view> names;
  for (const auto& moment : kMoments) names.push_back(moment.name);
  return names;
}

bool draw_pair(std::uint64_t seed, std::string_view first, std::string_view second,
               std::string_view phase, WorldDraw& draw) {
  const auto* moment = std::ranges::find(kMoments, phase, &Moment::name);
  if (moment == std::end(kMoments) || !draw_scenario(seed, first, draw)) return false;
  Random random(mix64(seed ^ 0x9a17));
  // A third one, so that what two faults hit can go on.
  draw.engines.push_back(plain_engine(random, draw.engines[0].options.dialect == Dialect::kLlama));
  for (auto& request : draw.requests) {
    Trap trap;
    if (!act_of(random, second, trap)) return false;
    if (request.number % 5 != 0) continue;
    const auto last = static_cast<std::uint32_t>(request.params.max_tokens) - 1;
    trap.phase = moment->phase;
    if (phase == "first_token") trap.token = 1;
    if (phase == "middle") trap.token = last / 2;
    if (phase == "last_token") trap.token = last;
    trap.by_count = moment->phase == Trap::Phase::kToken;
    // What follows a finish reason comes with it.
    if (phase != "finish") trap.delay = std::chrono::microseconds(random.below(2'000));
    request.trap = trap;
  }
  return true;
}

}  // namespace hf::simulator
