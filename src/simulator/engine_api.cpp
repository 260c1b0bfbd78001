#include "simulator/engine_api.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "simulator/engine_dialect.hpp"
#include "simulator/json_text.hpp"
#include "simulator/other_answer.hpp"

namespace hf::simulator {
namespace {

constexpr std::size_t kStreamsMax = 4096;
constexpr std::size_t kParkedMax = 1024;
constexpr std::size_t kStatsMax = 4096;
constexpr std::string_view kPoison = "<<poison>>";
constexpr Duration kUnnoticed = std::chrono::seconds(1);

std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

}  // namespace

EngineApi::EngineApi(EngineApiOptions options)
    : options_(std::move(options)),
      model_(options_.engine),
      dialect_(!options_.plain_as.empty()                  ? make_plain_dialect(options_.plain_as)
               : options_.engine.dialect == Dialect::kVllm ? make_vllm_dialect()
                                                           : make_llama_dialect()),
      ids_(options_.engine.seed ^ 0x1d5) {}

EngineApi::~EngineApi() = default;

DialectContext EngineApi::context() const {
  DialectContext context;
  context.options = &options_;
  context.model = &model_;
  context.now = now_;
  context.unix_s = options_.unix_at_zero_s +
                   std::chrono::duration_cast<std::chrono::seconds>(now_ - Instant{}).count();
  context.open_streams = streams_.size();
  return context;
}

EngineOutput EngineApi::answer(std::uint64_t id, const Page& page, bool keep_alive) const {
  EngineOutput output;
  output.stream = id;
  dialect_->head(output.bytes, page, page.body.size(), keep_alive, context());
  output.bytes += page.body;
  output.end = StreamEnd::kDone;
  return output;
}

EngineOutput EngineApi::handle(const EngineCall& call, Instant now) {
  now_ = now;
  const std::uint64_t id = ++last_stream_;
  const std::string_view path = path_of(call.target);
  if (path.starts_with("/sim/")) return sim(id, call, path);
  EngineOutput output;
  output.stream = id;
  if (halted_) {
    output.end = StreamEnd::kReset;
    return output;
  }
  if (!frozen(now)) return process(id, call, now);
  if (parked_.size() >= kParkedMax) {
    output.end = StreamEnd::kReset;
  } else {
    park(id, call);
  }
  return output;
}

void EngineApi::park(std::uint64_t id, const EngineCall& call) {
  Parked parked;
  parked.id = id;
  parked.method = call.method;
  parked.target = call.target;
  parked.body = call.body;
  parked.request_id = call.request_id;
  parked.content_type = call.content_type;
  parked.authorization = call.authorization;
  parked.keep_alive = call.keep_alive;
  parked.received_at = now_;
  parked_.push_back(std::move(parked));
}

void EngineApi::unpark(std::vector<EngineOutput>& out) {
  while (!parked_.empty()) {
    const Parked parked = std::move(parked_.front());
    parked_.pop_front();
    const EngineCall call{parked.method,       parked.target,     parked.body,
                          parked.request_id,   parked.keep_alive, parked.content_type,
                          parked.authorization};
    EngineOutput output = process(parked.id, call, parked.received_at);
    if (!output.bytes.empty() || output.end != StreamEnd::kOpen) out.push_back(std::move(output));
  }
}

EngineOutput EngineApi::process(std::uint64_t id, const EngineCall& call, Instant received_at) {
  const std::string_view path = path_of(call.target);
  if (!is_let_in(call, path)) {
    Page page;
    page.status = 401;
    const bool is_vllm = options_.engine.dialect == Dialect::kVllm;
    page.body = is_vllm ? R"({"error":"Unauthorized"})"
                        : R"({"error":{"code":401,"message":"Invalid API Key","type":)"
                          R"("authentication_error"}})";
    return answer(id, page, call.keep_alive);
  }
  const auto other = options_.other_endpoints ? other_answer(call, path, options_) : std::nullopt;
  if (other) {
    ++requests_;
    if (const auto page = refused()) return answer(id, *page, call.keep_alive);
    return open_timed(id, call, *other);
  }
  if (dialect_->generates(call.method, path)) return generate(id, call, path, received_at);
  if (dead_ && path == "/health") {
    Page page;
    page.status = 503;
    return answer(id, page, call.keep_alive);
  }
  return answer(id, dialect_->page(call.method, path, call.body, context()), call.keep_alive);
}

// The answer to a call that a fault refuses.
std::optional<Page> EngineApi::refused() {
  if (dead_) return dialect_->refusal(500);
  if (refusals_left_ <= 0) return std::nullopt;
  --refusals_left_;
  Page page = dialect_->refusal(refusal_.code);
  page.retry_after_s = refusal_.retry_after_s;
  return page;
}

// vLLM guards its /v1, llama.cpp all but health and models.
bool EngineApi::is_let_in(const EngineCall& call, std::string_view path) const {
  if (options_.api_key.empty() || call.authorization == "Bearer " + options_.api_key) return true;
  if (options_.engine.dialect == Dialect::kVllm) return !path.starts_with("/v1/");
  return path == "/health" || path == "/v1/health" || path == "/v1/models" || path == "/models";
}

EngineOutput EngineApi::generate(std::uint64_t id, const EngineCall& call, std::string_view path,
                                 Instant received_at) {
  ++requests_;
  request_ids_.emplace_back(call.request_id);
  if (request_ids_.size() > kStatsMax) request_ids_.pop_front();
  if (const auto page = refused()) return answer(id, *page, call.keep_alive);
  if (streams_.size() >= kStreamsMax) {
    EngineOutput output;
    output.stream = id;
    output.end = StreamEnd::kReset;
    return output;
  }
  auto parsed = dialect_->parse(path, call.body, context());
  if (!parsed) return answer(id, parsed.error(), call.keep_alive);
  auto stream = std::make_unique<ApiStream>();
  stream->id = id;
  stream->call = std::move(*parsed);
  stream->created = context().unix_s;
  stream->received_at = received_at;
  stream->request_id = call.request_id;
  stream->keep_alive = call.keep_alive;
  return open_stream(std::move(stream));
}

EngineOutput EngineApi::open_stream(std::unique_ptr<ApiStream> opened) {
  ApiStream& stream = *opened;
  dialect_->open(stream, ids_, context());
  const std::size_t count = stream.call.sequences.size();
  stream.choices.resize(count);
  stream.choices_open = count;
  stream.poison =
      std::any_of(stream.call.prompt_texts.begin(), stream.call.prompt_texts.end(),
                  [](const std::string& text) { return text.find(kPoison) != std::string::npos; });
  streams_.emplace(stream.id, std::move(opened));
  EngineOutput output;
  output.stream = stream.id;
  if (stream.call.stream && dialect_->head_at_once()) {
    add_head(stream);
    output.bytes = std::move(stream.bytes);
    stream.bytes.clear();
  }
  for (std::size_t i = 0; i < count; ++i) {
    Choice& choice = stream.choices[i];
    choice.index = static_cast<std::int32_t>(i);
    choice.view.prompt_tokens = static_cast<std::int32_t>(stream.call.sequences[i].prompt.size());
    const auto sequence = model_.submit(stream.call.sequences[i], now_);
    // Dialects let only one prompt through that the model refuses: llama.cpp's empty one, which is
    // answered with no token.
    if (!sequence) {
      TokenEvent nothing;
      nothing.finish = Finish::kStop;
      write_event(stream, choice, nothing);
      continue;
    }
    choice.sequence = *sequence;
    owners_.emplace(*sequence, std::pair(&stream, i));
  }
  if (stream.choices_open == 0) complete(stream);
  return output;
}

void EngineApi::poll(Instant now, std::vector<EngineOutput>& out) {
  now_ = now;
  if (halted_) {
    flush(out);
    return;
  }
  if (frozen(now)) return;
  hold_model();
  unpark(out);
  if (now >= exit_at_) {
    exit_at_ = kNever;
    halted_ = true;
    action_ = ProcessAction::kExit;
  }
  drop_unnoticed();
  events_.clear();
  model_.advance(now, events_);
  for (const TokenEvent& event : events_) {
    take_event(event);
    if (halted_ || dead_) break;
  }
  if (!halted_) poll_timed(out);
  flush(out);
}

Instant EngineApi::next_event_at() const {
  if (!ready_.empty() || !dirty_.empty()) return now_;
  if (halted_) return kNever;
  if (now_ < frozen_until_) return frozen_until_;
  if (!parked_.empty()) return now_;
  Instant at = std::min({model_.next_event_at(), exit_at_, next_timed_at()});
  if (unnoticed_ == 0) return at;
  for (const auto& [id, stream] : streams_) {
    if (stream->gone_at) at = std::min(at, unnoticed_until(*stream));
  }
  return at;
}

void EngineApi::take_event(const TokenEvent& event) {
  const auto owner = owners_.find(event.sequence);
  if (owner == owners_.end()) return;
  ApiStream& stream = *owner->second.first;
  Choice& choice = stream.choices[owner->second.second];
  if (stream.poison && event.completion_tokens > options_.poison_after) {
    die(Death::kSigkill);
    return;
  }
  if (const auto view = model_.view(event.sequence)) choice.view = *view;
  if (event.finish != Finish::kNone) owners_.erase(owner);
  write_event(stream, choice, event);
  if (stream.choices_open == 0) complete(stream);
  if (event.id >= 0 && death_ && --death_tokens_ <= 0) {
    const Death how = *death_;
    death_.reset();
    die(how);
  }
}

void EngineApi::write_event(ApiStream& stream, Choice& choice, const TokenEvent& event) {
  choice.completion_tokens = event.completion_tokens;
  if (event.finish != Finish::kNone) {
    choice.ended = true;
    --stream.choices_open;
    choice.finish = event.finish;
    choice.stop_kind = event.stop_kind;
    choice.stop_index = event.stop_index;
    choice.stop_id = event.id;
  }
  if (event.text.find('\n') != std::string_view::npos) choice.has_new_line = true;
  stream.drop_ids = event.id >= 0 && drop_every_ > 0 && ++drop_count_ % drop_every_ == 0;
  if (stream.call.stream) {
    if (stream.bytes.empty()) dirty_.push_back(stream.id);
    dialect_->event(stream, choice, event, stream.bytes, context());
    last_result_at_ = now_;
    if (!stream.bytes.empty()) note_first_token(stream);
    return;
  }
  auto& text = event.completion_tokens <= stream.call.reasoning ? choice.reasoning : choice.text;
  text += event.text;
  text += event.dropped;
  if (event.id >= 0) {
    choice.ids.push_back(event.id);
    note_first_token(stream);
  }
  if (event.id >= 0 && event.visible && stream.call.logprobs > 0) {
    choice.log_ids.push_back(event.id);
    choice.log_texts.emplace_back(event.text);
  }
}

void EngineApi::note_first_token(ApiStream& stream) {
  if (stream.token_written) return;
  stream.token_written = true;
  const auto us =
      std::chrono::duration_cast<std::chrono::microseconds>(now_ - stream.received_at).count();
  first_tokens_.push_back({stream.request_id, us});
  if (first_tokens_.size() > kStatsMax) first_tokens_.pop_front();
}

void EngineApi::complete(ApiStream& stream) {
  std::string tail;
  if (stream.call.stream) {
    dialect_->close(stream, tail, context());
  } else {
    const std::string body = dialect_->whole(stream, context());
    dialect_->head(tail, {}, body.size(), stream.keep_alive, context());
    tail += body;
  }
  end_stream(stream, tail, StreamEnd::kDone);
}

void EngineApi::add_head(ApiStream& stream) {
  if (stream.head_sent) return;
  stream.head_sent = true;
  std::string head;
  dialect_->head(head, {}, std::nullopt, stream.keep_alive, context());
  stream.bytes.insert(0, head);
}

// Hands out what the stream still has, then `bytes`; the stream is gone afterwards.
void EngineApi::end_stream(ApiStream& stream, std::string_view bytes, StreamEnd end) {
  stream.bytes += bytes;
  if (stream.call.stream && !stream.bytes.empty()) add_head(stream);
  if (!stream.gone_at) {
    EngineOutput output;
    output.stream = stream.id;
    output.bytes = std::move(stream.bytes);
    output.end = end;
    ready_.push_back(std::move(output));
  }
  forget(stream.id);
}

void EngineApi::forget(std::uint64_t id) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  for (const Choice& choice : found->second->choices) {
    if (choice.ended || choice.sequence == 0) continue;
    owners_.erase(choice.sequence);
    model_.cancel(choice.sequence, now_);
  }
  if (found->second->gone_at) --unnoticed_;
  streams_.erase(found);
}

void EngineApi::flush(std::vector<EngineOutput>& out) {
  for (const std::uint64_t id : dirty_) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || found->second->bytes.empty()) continue;
    ApiStream& stream = *found->second;
    add_head(stream);
    EngineOutput output;
    output.stream = id;
    output.bytes = std::move(stream.bytes);
    stream.bytes.clear();
    out.push_back(std::move(output));
  }
  dirty_.clear();
  std::move(ready_.begin(), ready_.end(), std::back_inserter(out));
  ready_.clear();
}

void EngineApi::gone(std::uint64_t id, Instant now) {
  now_ = now;
  std::erase_if(parked_, [&](const Parked& parked) { return parked.id == id; });
  std::erase_if(ready_, [&](const EngineOutput& output) { return output.stream == id; });
  timed_.erase(id);
  const auto found = streams_.find(id);
  if (found == streams_.end()) return;
  ApiStream& stream = *found->second;
  gone_at_.push_back(now);
  if (gone_at_.size() > kStatsMax) gone_at_.pop_front();
  if (options_.engine.dialect == Dialect::kVllm || stream.call.stream) {
    forget(id);
  } else if (!stream.gone_at) {
    stream.gone_at = now;
    ++unnoticed_;
  }
}

// llama.cpp looks whether the client of a whole answer is still there only when it has waited a
// second for any result of any request.
Instant EngineApi::unnoticed_until(const ApiStream& stream) const {
  return std::max(*stream.gone_at, last_result_at_) + kUnnoticed;
}

void EngineApi::drop_unnoticed() {
  if (unnoticed_ == 0) return;
  std::vector<std::uint64_t> ids;
  for (const auto& [id, stream] : streams_) {
    if (stream->gone_at && now_ >= unnoticed_until(*stream)) ids.push_back(id);
  }
  for (const std::uint64_t id : ids) forget(id);
}

ProcessAction EngineApi::take_process_action() {
  return std::exchange(action_, ProcessAction::kNone);
}

}  // namespace hf::simulator
