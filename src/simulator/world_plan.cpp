#include "simulator/world_plan.hpp"

#include <algorithm>
#include <string>

namespace hf::simulator {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kForEver = seconds(3'000);

Duration span(Random& random, std::int64_t low_ms, std::int64_t high_ms) {
  return milliseconds(low_ms) +
         milliseconds(random.below(static_cast<std::uint64_t>(high_ms - low_ms + 1)));
}

std::int64_t number(Random& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1)));
}

std::vector<EngineTraits> draw_engines(Random& random) {
  EngineOptions common;
  const std::uint32_t eos[] = {25, 60, 150, 400};
  common.eos_every = eos[random.below(4)];
  common.odd_characters_every = random.chance(0.25) ? 9 : 0;
  common.model_len = static_cast<std::int32_t>(number(random, 160, 400));
  common.prefix_cache = random.chance(0.3);
  const auto kinds = random.below(20);  // vLLM only, llama.cpp only, both
  const bool slow_prefill = random.chance(0.2);
  const auto count = static_cast<std::size_t>(number(random, 2, 4));
  std::vector<EngineTraits> engines;
  for (std::size_t i = 0; i < count; ++i) {
    EngineTraits traits;
    traits.options = common;
    const bool llama = kinds < 9 ? false : kinds < 17 ? true : i % 2 == 1;
    traits.options.dialect = llama ? Dialect::kLlama : Dialect::kVllm;
    traits.options.seed = random.next();
    traits.options.itl = span(random, 4, 25);
    traits.options.ttft = span(random, 1, 40);
    traits.options.prefill_tokens_per_s = static_cast<double>(
        slow_prefill ? number(random, 100, 900) : number(random, 3'000, 50'000));
    traits.options.slots =
        static_cast<std::int32_t>(llama ? number(random, 2, 8) : number(random, 4, 64));
    traits.options.eos_before_final = !llama && random.chance(0.3);
    engines.push_back(traits);
  }
  if (random.chance(0.08)) engines.back().options.variant = 1;
  if (random.chance(0.2)) engines.back().build = 2;
  if (random.chance(0.05)) engines.back().refuses_ids = true;
  if (random.chance(0.04)) engines.back().unauthorized = true;
  return engines;
}

// Words, and now and then characters of several bytes, up to `tokens` pieces.
std::string draw_text(Random& random, std::int64_t tokens) {
  const auto& words = Vocabulary::standard();
  std::vector<TokenId> ids;
  std::string text;
  for (std::int64_t i = 0; i < tokens; ++i) {
    if (random.chance(0.1)) {
      text += words.characters()[random.below(words.characters().size())];
    } else {
      const auto openers = words.openers();
      const TokenId id = openers[random.below(openers.size())];
      text += words.detokenize(std::span(&id, 1));
    }
  }
  return text.empty() ? "x" : text;
}

// A piece of what the answer will say, so that it does stop there, often across tokens.
void draw_stops(Random& random, const EngineModel& model, RequestDraw& request) {
  auto params = request.params;
  params.prompt = request.spec.prompt_ids.empty()
                      ? model.vocabulary().tokenize(request.prompt_text, true)
                      : request.spec.prompt_ids;
  const auto answer = model.expected(params).text;
  const auto begins_character = [&](std::size_t at) {
    return at >= answer.size() || (static_cast<unsigned char>(answer[at]) & 0xC0) != 0x80;
  };
  if (answer.size() > 12 && random.chance(0.75)) {
    auto from = static_cast<std::size_t>(random.below(answer.size() - 8));
    auto to = from + static_cast<std::size_t>(number(random, 1, 8));
    while (!begins_character(from)) ++from;
    while (to <= from || !begins_character(to)) ++to;
    request.params.stop.push_back(answer.substr(from, to - from));
  }
  if (request.params.stop.empty() || random.chance(0.3)) request.params.stop.push_back("the zz");
  request.spec.stop = request.params.stop;
}

void draw_limits(Random& random, bool mixed, bool vllm_only, RequestDraw& request) {
  const auto kind = random.below(100);
  auto& params = request.params;
  if (kind < 15) {
    params.max_tokens = static_cast<std::int32_t>(number(random, 1, 4));
  } else if (kind < 55 || mixed) {
    params.max_tokens = static_cast<std::int32_t>(number(random, 5, 60));
  } else if (kind < 85) {
    params.max_tokens = static_cast<std::int32_t>(number(random, 60, 200));
  }
  params.ignore_eos = random.chance(0.1);
  if (vllm_only && random.chance(0.12))
    params.min_tokens = static_cast<std::int32_t>(number(random, 1, 20));
  if (params.max_tokens > 0) {
    params.min_tokens = std::min(params.min_tokens, params.max_tokens);
    request.spec.max_tokens = params.max_tokens;
  }
  request.spec.min_tokens = params.min_tokens;
  request.spec.ignore_eos = params.ignore_eos;
}

RequestDraw draw_request(Random& random, const WorldDraw& world, const EngineModel& model,
                         std::size_t index) {
  const auto is_llama = [](const EngineTraits& t) { return t.options.dialect == Dialect::kLlama; };
  const bool any_llama = std::ranges::any_of(world.engines, is_llama);
  const bool mixed = any_llama && !std::ranges::all_of(world.engines, is_llama);
  RequestDraw request;
  request.number = index;
  auto& spec = request.spec;
  spec.model = random.chance(0.01) ? "nobody" : "sim";
  const bool chat = random.chance(0.5);
  spec.endpoint = chat ? core::Endpoint::kChat : core::Endpoint::kCompletions;
  const auto tokens =
      random.chance(0.1) ? world.engines[0].options.model_len / 2 : number(random, 1, 30);
  request.prompt_text = draw_text(random, tokens);
  if (chat) request.prompt_text = "<|im_start|>user\n" + request.prompt_text + "<|im_end|>";
  // Ids of a client mean the same everywhere only where all engines share a vocabulary.
  const bool one_vocabulary =
      std::ranges::all_of(world.engines, [](const auto& t) { return t.options.variant == 0; });
  if (!chat && one_vocabulary && random.chance(0.2))
    spec.prompt_ids = model.vocabulary().tokenize(request.prompt_text, true);
  spec.prompt_tokens_estimate = static_cast<std::int64_t>(request.prompt_text.size() / 4 + 1);
  request.opaque = random.chance(0.06);
  spec.tokens_allowed = {!request.opaque, !request.opaque};
  spec.adds_fields = spec.tokens_allowed;
  spec.default_max = {chat ? 0 : 16, 0};
  spec.drops_held_text = {false, true};
  spec.stream = !random.chance(0.16);
  spec.include_usage = random.chance(0.5);
  request.greedy = !random.chance(0.12);
  spec.greedy = request.greedy;
  request.params.temperature = request.greedy ? 0 : 0.8;
  if (!request.greedy && random.chance(0.5)) request.params.seed = random.next();
  draw_limits(random, mixed, !any_llama, request);
  if (!any_llama && random.chance(0.08)) {
    const auto openers = model.vocabulary().openers();
    for (int i = 0; i < 6; ++i)
      request.params.stop_token_ids.push_back(openers[random.below(openers.size())]);
    spec.stop_token_ids = request.params.stop_token_ids;
  }
  if (random.chance(0.3)) draw_stops(random, model, request);
  // The two kinds of engine differ in what they do with text that is held back at the limit.
  if (mixed) request.params.stop = request.spec.stop = {};
  if (!spec.stream) {
    // Assembled from a stream: not where llama.cpp may hold text back, and not always. One with
    // tokens allowed that is opaque thinks aloud: its engine is asked for the whole body then.
    const bool assembled = random.chance(0.8);
    const bool plain = !request.opaque || random.chance(0.5);
    spec.tokens_allowed = {assembled && plain, assembled && plain && spec.stop.empty()};
  }
  request.arrives = span(random, 0, 8'000);
  if (random.chance(0.04)) request.leaves_after = span(random, 0, 3'000);
  if (random.chance(0.04))
    request.leaves_at_token = static_cast<std::uint32_t>(number(random, 1, 40));
  if (random.chance(0.07))
    request.stops_reading_at = static_cast<std::uint32_t>(number(random, 1, 30));
  request.stops_reading_for = span(random, 50, 8'000);
  return request;
}

Duration draw_outage(Random& random) {
  if (random.chance(0.12)) return kForEver;
  return random.chance(0.5) ? span(random, 5, 1'500) : span(random, 1'000, 12'000);
}

Duration draw_length(Random& random, Fault fault) {
  switch (fault) {
    case Fault::kKill:
    case Fault::kCoreDies:
    case Fault::kTerm: return draw_outage(random);
    case Fault::kFreeze: return span(random, 50, 15'000);
    case Fault::kWedge:
    case Fault::kSlow: return span(random, 500, 15'000);
    case Fault::kPause: return span(random, 200, 4'000);
    case Fault::kEarlyEnd:
    case Fault::kReset: return milliseconds(1);
    case Fault::kRefuse: return span(random, 100, 3'000);
    case Fault::kPartition: return span(random, 300, 8'000);
  }
  return {};
}

Trap draw_trap(Random& random) {
  Trap trap;
  trap.phase = static_cast<Trap::Phase>(random.below(6));
  if (trap.phase == Trap::Phase::kToken)
    trap.token = static_cast<std::uint32_t>(number(random, 1, 50));
  trap.fault = random.chance(0.7) ? Fault::kKill : static_cast<Fault>(random.below(kFaultCount));
  trap.delay = std::chrono::microseconds(random.below(3'000));
  trap.how_long = draw_length(random, trap.fault);
  trap.times = static_cast<int>(number(random, 1, 3));
  return trap;
}

void draw_faults(Random& random, WorldDraw& world) {
  const auto count = random.below(7);
  for (std::uint64_t i = 0; i < count; ++i) {
    FaultDraw fault;
    fault.at = span(random, 300, 11'000);
    fault.engine = static_cast<std::size_t>(random.below(world.engines.size()));
    fault.fault = random.chance(0.4) ? Fault::kKill : static_cast<Fault>(random.below(kFaultCount));
    fault.how_long = draw_length(random, fault.fault);
    world.faults.push_back(fault);
    if (random.chance(0.25)) {  // and another one while the first is being recovered from
      fault.at += span(random, 0, 300);
      fault.engine = static_cast<std::size_t>(random.below(world.engines.size()));
      world.faults.push_back(fault);
    }
  }
}

// From dice of its own, so that the rest of a seed's world stays what it is.
void draw_cancels(std::uint64_t seed, WorldDraw& world) {
  Random random(mix64(seed ^ 0xca9ce1));
  if (!random.chance(0.3)) return;
  for (auto& request : world.requests) {
    if (request.poison || !random.chance(0.15)) continue;
    request.cancelled_after = span(random, 0, 2'500);
    request.cancel_mode = random.chance(0.5) ? core::CancelMode::kStop : core::CancelMode::kKill;
  }
}

}  // namespace

WorldDraw draw_world(std::uint64_t seed) {
  Random random(mix64(seed));
  WorldDraw world;
  world.engines = draw_engines(random);
  world.frontends = random.chance(0.3) ? 2 : 1;
  world.cores = random.chance(0.5) ? 2 : 1;
  world.migration.strict_identity = random.chance(0.1);
  if (random.chance(0.04)) world.migration.tokens = false;
  if (random.chance(0.02)) world.migration.restart = world.migration.tokens = false;
  if (random.chance(0.6))
    world.is_protected = static_cast<std::size_t>(random.below(world.engines.size()));
  const EngineModel model(world.engines[0].options);
  const auto count = static_cast<std::size_t>(number(random, 20, 60));
  for (std::size_t i = 0; i < count; ++i) {
    world.requests.push_back(draw_request(random, world, model, i));
    if (random.chance(0.12)) world.requests.back().trap = draw_trap(random);
  }
  if (random.chance(0.1)) world.requests[random.below(count)].poison = true;
  draw_cancels(seed, world);
  draw_faults(random, world);
  if (random.chance(0.25)) {
    world.pauses.push_back({span(random, 500, 9'000),
                            static_cast<std::size_t>(random.below(world.frontends)),
                            span(random, 150, 4'000)});
  }
  return world;
}

namespace {

void widen_request(Random& random, bool relays, RequestDraw& request) {
  const bool is_plain = request.spec.prompt_ids.empty();
  request.spec.text_allowed = {is_plain, is_plain};
  if (random.chance(0.06)) {
    request.link = {.at = static_cast<std::uint32_t>(number(random, 0, 40)),
                    .cut = random.chance(0.5),
                    .late = span(random, 50, 12'000),
                    .attempts = static_cast<int>(number(random, 1, 2))};
  }
  if (!relays || request.poison || !random.chance(0.15)) return;
  request.spec.relayed = true;
  request.spec.repeatable = random.chance(0.7);
  request.spec.stream = request.spec.include_usage = false;
  request.spec.tokens_allowed = request.spec.text_allowed = {false, false};
  request.opaque = false;
  request.relayed_stream = random.chance(0.6);
}

}  // namespace

void widen(std::uint64_t seed, WorldDraw& world) {
  Random random(mix64(seed ^ 0x71de));
  const auto some_engine = [&] {
    return static_cast<std::size_t>(random.below(world.engines.size()));
  };
  const auto some_frontend = [&] {
    return static_cast<std::size_t>(random.below(world.frontends));
  };
  if (random.chance(0.3)) {
    for (std::int64_t i = number(random, 1, 2); i > 0; --i) {
      world.faults.push_back(
          {span(random, 300, 9'000), some_engine(), Fault::kPartition, span(random, 300, 8'000)});
    }
  }
  if (random.chance(0.25)) {
    for (std::int64_t i = number(random, 1, 4); i > 0; --i) {
      const auto engine = random.chance(0.2) ? static_cast<std::size_t>(-1) : some_engine();
      world.losses.push_back(
          {span(random, 300, 9'000), some_frontend(), engine, span(random, 5, 4'000)});
    }
  }
  if (random.chance(0.25)) {
    for (std::int64_t i = number(random, 5, 20); i > 0; --i)
      world.pauses.push_back({span(random, 300, 9'000), some_frontend(), span(random, 5, 99)});
  }
  if (random.chance(0.2)) world.migration.queue_max = number(random, 1, 6);
  world.migration.text = random.chance(0.25);
  const bool relays = random.chance(0.3);
  for (auto& request : world.requests) widen_request(random, relays, request);
}

}  // namespace hf::simulator
