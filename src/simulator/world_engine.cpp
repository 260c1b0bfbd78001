#include "simulator/world_engine.hpp"

#include <algorithm>
#include <utility>

namespace hf::simulator {
namespace {
using std::chrono::microseconds;
using std::chrono::milliseconds;

/// From the decision to cancel until the engine has stopped.
constexpr Duration kCancelBound = milliseconds(100);
/// The frontend's own, for a connection.
constexpr Duration kConnectLimit = milliseconds(1'000);

core::Finish meaning(Finish finish) {
  switch (finish) {
    case Finish::kNone: return core::Finish::kNone;
    case Finish::kStop: return core::Finish::kStop;
    case Finish::kLength: return core::Finish::kLength;
    case Finish::kAbort: return core::Finish::kAbort;
  }
  return core::Finish::kOther;
}
}  // namespace

core::UpstreamEvent OwnedEvent::view() const {
  core::UpstreamEvent event;
  event.kind = kind;
  event.ids = ids;
  event.text = text;
  event.finish = finish;
  event.finish_text = core::to_string(finish);
  event.completion_tokens = completion_tokens;
  event.prompt_tokens = prompt_tokens;
  event.prompt_ids = prompt_ids;
  event.plain = plain;
  return event;
}

std::string_view to_string(Fault fault) {
  switch (fault) {
    case Fault::kKill: return "kill";
    case Fault::kCoreDies: return "core_dies";
    case Fault::kTerm: return "term";
    case Fault::kFreeze: return "freeze";
    case Fault::kWedge: return "wedge";
    case Fault::kPause: return "pause";
    case Fault::kSlow: return "slow";
    case Fault::kEarlyEnd: return "early_end";
    case Fault::kReset: return "reset";
    case Fault::kRefuse: return "refuse";
    case Fault::kPartition: return "partition";
  }
  return "unknown";
}

EngineProcess::EngineProcess(Schedule& schedule, EngineTraits traits, std::size_t index,
                             std::function<void(std::string)> trace)
    : schedule_(schedule),
      traits_(traits),
      index_(index),
      trace_(std::move(trace)),
      model_(std::make_unique<EngineModel>(traits_.options)),
      // Frontends need a moment to find out what it is; not after this start, which they expect.
      clean_since_(schedule.now() - milliseconds(1800)) {}

std::uint64_t EngineProcess::generated_tokens() const {
  return generated_before_ + model_->counters().generated_tokens;
}

std::int32_t EngineProcess::sequences() const {
  const auto counters = model_->counters();
  return counters.running + counters.waiting;
}

void EngineProcess::send(Stream& stream, Arrival arrival) {
  if (cut_off_) {
    undelivered_.emplace_back(stream.shared_from_this(), std::move(arrival));
    return;
  }
  stream.last_arrival = std::max(schedule_.now() + stream.link, stream.last_arrival + Duration(1));
  schedule_.at(stream.last_arrival,
               [arrive = stream.arrive, arrival = std::move(arrival)]() mutable {
                 arrive(std::move(arrival));
               });
}

void EngineProcess::send_event(Stream& stream, OwnedEvent event) {
  send(stream, {.kind = Arrival::Kind::kEvent, .event = std::move(event)});
}

void EngineProcess::accept(std::shared_ptr<Stream> stream) {
  if (stream->closed) return;
  if (!up_) {
    stream->ended = true;
    send(*stream, {.kind = Arrival::Kind::kFailed, .reason = core::Reason::kConnect, .event = {}});
    return;
  }
  if (is_frozen()) {
    if (cut_off_) {  // no answer to the connection: the frontend's limit
      schedule_.after(kConnectLimit, [this, stream] {
        if (std::erase(unsubmitted_, stream) == 0 || stream->closed) return;
        stream->ended = true;
        stream->arrive(
            {.kind = Arrival::Kind::kFailed, .reason = core::Reason::kConnect, .event = {}});
      });
    }
    unsubmitted_.push_back(std::move(stream));
    return;
  }
  submit(stream);
}

void EngineProcess::submit(const std::shared_ptr<Stream>& stream) {
  int status = 0;
  Duration retry_after{};
  if (traits_.unauthorized) status = 401;
  if (traits_.refuses_ids && stream->order.with_ids) status = 400;
  if (dying_) status = 500;
  if (status == 0 && refusals_ > 0) {
    --refusals_;
    status = refusal_status_;
    if (status != 500) retry_after = milliseconds(500);
  }
  Result<SequenceId> sequence = 0;
  if (status == 0) {
    sequence = model_->submit(stream->order.params, schedule_.now());
    if (!sequence) status = 400;
  }
  if (status != 0) {
    stream->ended = true;
    send(*stream, {.kind = Arrival::Kind::kStatus,
                   .status = status,
                   .retry_after = retry_after,
                   .event = {}});
    return;
  }
  stream->sequence = *sequence;
  stream->prompt_tokens = static_cast<std::int64_t>(stream->order.params.prompt.size());
  streams_[*sequence] = stream;
  send(*stream, {.kind = Arrival::Kind::kHead, .event = {}});
  if (stream->order.poison) {
    schedule_.after(milliseconds(2), [this, number = incarnation_] {
      if (up_ && !frozen_ && number == incarnation_) apply(Fault::kKill, std::chrono::seconds(3));
    });
  }
  poll_later();
}

void EngineProcess::hang_up(const std::shared_ptr<Stream>& stream) {
  if (!up_) return;
  if (is_frozen()) {
    std::erase(unsubmitted_, stream);
    parked_.push_back([this, stream] { hang_up(stream); });
    return;
  }
  // Its number may belong to another stream since the process began anew.
  const auto found = streams_.find(stream->sequence);
  if (found == streams_.end() || found->second != stream) return;
  streams_.erase(found);
  model_->cancel(stream->sequence, schedule_.now());
  poll_later();
}

bool EngineProcess::call(std::function<void()> answer) {
  if (!up_) return false;
  if (is_frozen()) {
    parked_.push_back(std::move(answer));
  } else {
    answer();
  }
  return true;
}

void EngineProcess::poll_later() {
  const auto number = ++poll_number_;
  const auto at = model_->next_event_at();
  if (at == kNever) return;
  schedule_.at(at, [this, number] {
    if (number != poll_number_ || !up_ || frozen_) return;
    std::vector<TokenEvent> tokens;
    model_->advance(schedule_.now(), tokens);
    for (const auto& token : tokens) {
      const auto found = streams_.find(token.sequence);
      if (found == streams_.end()) continue;
      const auto stream = found->second;
      write(*stream, token);
      if (token.finish != Finish::kNone) streams_.erase(token.sequence);
    }
    poll_later();
  });
}

// The engine's own counts, where it was asked for them.
void EngineProcess::count_into(const Stream& stream, OwnedEvent& event, std::int64_t count) const {
  if (!stream.order.with_ids && !stream.order.by_ids) return;
  event.completion_tokens = count;
  event.prompt_tokens = stream.prompt_tokens;
}

void EngineProcess::write(Stream& stream, const TokenEvent& token) {
  const bool is_vllm = traits_.options.dialect == Dialect::kVllm;
  if (!stream.order.stream) {
    stream.whole += token.text;
    stream.whole += token.dropped;
    if (token.finish == Finish::kNone) return;
    stream.ended = true;
    OwnedEvent event;
    event.text = stream.whole;
    event.finish = meaning(token.finish);
    send(stream, {.kind = Arrival::Kind::kWhole, .event = std::move(event)});
    return;
  }
  const bool first = !std::exchange(stream.started, true);
  std::vector<TokenId> prompt_ids;
  if (first && is_vllm && stream.order.with_ids) prompt_ids = stream.order.params.prompt;
  if (first && stream.order.chat && !stream.order.by_ids) {
    OwnedEvent role;
    role.kind = core::EventKind::kRole;
    count_into(stream, role, 0);
    role.prompt_ids = std::exchange(prompt_ids, {});
    send_event(stream, std::move(role));
  }
  if (!is_vllm) {
    write_llama(stream, token);
    return;
  }
  OwnedEvent event;
  const bool ids = stream.order.with_ids || stream.order.by_ids;
  if (ids && token.id >= 0) event.ids.push_back(token.id);
  event.text = token.text;
  event.finish = meaning(token.finish);
  event.prompt_ids = std::move(prompt_ids);
  event.plain = !stream.order.opaque || token.completion_tokens != 3;
  count_into(stream, event, token.completion_tokens);
  const bool silent = !ids && event.text.empty() && event.finish == core::Finish::kNone;
  if (!silent) send_event(stream, std::move(event));
  if (token.finish != Finish::kNone) {
    write_end(stream, meaning(token.finish), token.completion_tokens);
  }
}

// llama.cpp tells one id an event, none inside a character; on chat it writes nothing without text.
// Its finish comes in an event of its own.
void EngineProcess::write_llama(Stream& stream, const TokenEvent& token) {
  const bool native = stream.order.by_ids;
  const bool shown = token.visible && (native || !stream.order.chat || !token.text.empty());
  if (shown && token.id >= 0 && token.finish != Finish::kAbort) {
    OwnedEvent event;
    if (native || stream.order.with_ids) event.ids.push_back(token.id);
    event.text = token.text;
    event.plain = !stream.order.opaque || token.completion_tokens != 3;
    count_into(stream, event, token.completion_tokens);
    send_event(stream, std::move(event));
  }
  if (token.finish == Finish::kNone) return;
  OwnedEvent last;
  if (!shown) last.text = token.text;
  last.finish = meaning(token.finish);
  // Chat's finish event carries no count; the usage after it does.
  const bool is_bare = stream.order.chat && !native && last.text.empty();
  if (!is_bare) count_into(stream, last, token.completion_tokens);
  send_event(stream, std::move(last));
  write_end(stream, meaning(token.finish), token.completion_tokens);
}

void EngineProcess::write_end(Stream& stream, core::Finish finish, std::int64_t count) {
  stream.ended = true;
  const bool native = stream.order.by_ids && traits_.options.dialect == Dialect::kLlama;
  const bool asked = stream.order.include_usage || stream.order.with_ids || stream.order.by_ids;
  if (!native && asked && finish != core::Finish::kAbort) {
    OwnedEvent usage;
    usage.kind = core::EventKind::kUsage;
    usage.completion_tokens = count;
    usage.prompt_tokens = stream.prompt_tokens;
    send_event(stream, std::move(usage));
  }
  if (!native) {
    OwnedEvent done;
    done.kind = core::EventKind::kDone;
    send_event(stream, std::move(done));
  }
  send(stream, {.kind = Arrival::Kind::kEnd, .event = {}});
}

bool EngineProcess::writes_for_nobody() const {
  if (!up_ || is_frozen()) return false;
  return std::ranges::any_of(streams_, [this](const auto& entry) {
    const auto& stream = *entry.second;
    return stream.closed && schedule_.now() - stream.closed_at > kCancelBound;
  });
}

void EngineProcess::fail_all(core::Reason reason) {
  auto streams = std::move(unsubmitted_);
  unsubmitted_.clear();
  for (auto& [id, stream] : streams_) streams.push_back(stream);
  std::ranges::sort(streams, {}, [](const auto& stream) { return stream->sequence; });
  streams_.clear();
  for (const auto& stream : streams) {
    stream->ended = true;
    if (reason == core::Reason::kInBandError && stream->started) {
      OwnedEvent error;
      error.kind = core::EventKind::kError;
      send_event(*stream, std::move(error));
      OwnedEvent done;
      done.kind = core::EventKind::kDone;
      send_event(*stream, std::move(done));
    }
    if (reason == core::Reason::kReset) {
      send(*stream, {.kind = Arrival::Kind::kFailed, .reason = reason, .event = {}});
    } else {
      send(*stream, {.kind = Arrival::Kind::kEnd, .event = {}});
    }
    model_->cancel(stream->sequence, schedule_.now());
  }
}

void EngineProcess::die() {
  if (!up_) return;
  ++deaths_;
  was_away_ = true;
  ++incarnation_;
  cut_off_ = false;
  // What it had written is lost; its connections end like the others.
  for (const auto& [stream, arrival] : std::exchange(undelivered_, {})) {
    send(*stream, {.kind = Arrival::Kind::kFailed, .reason = core::Reason::kReset, .event = {}});
  }
  fail_all(core::Reason::kReset);
  generated_before_ += model_->counters().generated_tokens;
  auto options = traits_.options;
  options.seed = mix64(options.seed + incarnation_);
  model_ = std::make_unique<EngineModel>(options);
  ++poll_number_;
  parked_.clear();
  up_ = dying_ = frozen_ = false;
  refusals_ = 0;
}

void EngineProcess::revive() {
  up_ = true;
}

void EngineProcess::thaw() {
  if (!frozen_) return;
  frozen_ = false;
  model_->hold_until(schedule_.now());
  if (!cut_off_) hear();
  poll_later();
}

void EngineProcess::heal() {
  if (!cut_off_) return;
  cut_off_ = false;
  for (auto& [stream, arrival] : std::exchange(undelivered_, {})) send(*stream, std::move(arrival));
  if (!frozen_) hear();
}

// What the kernel or the network kept for it, in the order in which it came.
void EngineProcess::hear() {
  for (auto& what : std::exchange(parked_, {})) what();
  for (auto& stream : std::exchange(unsubmitted_, {})) {
    if (!stream->closed) submit(stream);
  }
}

// Something is wrong until `over` has run, and once more when a death made that meaningless.
void EngineProcess::trouble(Duration how_long, std::function<void()> over) {
  ++troubles_;
  schedule_.after(how_long, [this, over = std::move(over), number = incarnation_] {
    --troubles_;
    clean_since_ = schedule_.now();
    if (number == incarnation_) over();
    poll_later();
  });
}

void EngineProcess::apply(Fault fault, Duration how_long) {
  if (!up_) return;
  ++faults_;
  trace_("engine " + std::to_string(index_) + ": " + std::string(to_string(fault)));
  switch (fault) {
    case Fault::kTerm:
    case Fault::kCoreDies:
      was_away_ = true;
      if (!frozen_ && !dying_) {
        if (fault == Fault::kTerm) {
          std::vector<TokenEvent> ends;
          model_->abort_all(ends);
          for (const auto& token : ends) {
            if (const auto found = streams_.find(token.sequence); found != streams_.end()) {
              write(*found->second, token);
            }
          }
          streams_.clear();
        } else {
          fail_all(core::Reason::kInBandError);
        }
        dying_ = true;
        const auto wait =
            fault == Fault::kTerm ? Duration(milliseconds(100)) : Duration(milliseconds(2000));
        trouble(wait, [this, how_long] { apply(Fault::kKill, how_long); });
        return;
      }
      [[fallthrough]];
    case Fault::kKill:
      die();
      trouble(how_long, [this] { revive(); });
      return;
    case Fault::kFreeze:
      if (frozen_) return;
      frozen_ = was_away_ = true;
      ++poll_number_;
      model_->hold_until(kNever);
      trouble(how_long, [this] { thaw(); });
      return;
    case Fault::kPartition:
      if (cut_off_) return;
      cut_off_ = was_cut_off_ = was_away_ = true;
      trouble(how_long, [this] { heal(); });
      return;
    case Fault::kWedge:
      model_->set_wedged(true);
      trouble(how_long, [this] { model_->set_wedged(false); });
      return;
    case Fault::kPause:
      if (frozen_) return;
      model_->hold_until(schedule_.now() + how_long);
      trouble(how_long, [] {});
      return;
    case Fault::kSlow:
      model_->set_slow(20);
      trouble(how_long, [this] { model_->set_slow(1); });
      return;
    case Fault::kEarlyEnd: fail_all(core::Reason::kEarlyEnd); break;
    case Fault::kReset: fail_all(core::Reason::kReset); break;
    case Fault::kRefuse: {
      refusals_ += how_long > milliseconds(1'500) ? 1'000 : 6;
      const auto draw = schedule_.random().below(3);
      refusal_status_ = draw == 0 ? 500 : draw == 1 ? 429 : 503;
      break;
    }
  }
  trouble(how_long, [this] { refusals_ = 0; });
}

}  // namespace hf::simulator
