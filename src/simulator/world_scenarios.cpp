// The simulated twins of behaviour.md §14: the same names as the tests on real processes.
#include <algorithm>
#include <map>
#include <string>

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
      {"worker_slow", [](Random&, WorldDraw& draw,
                         Duration at) { draw.faults = {{at, 0, Fault::kSlow, kForEver}}; }},
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

}  // namespace hf::simulator
