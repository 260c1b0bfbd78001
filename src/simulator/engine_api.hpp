// The simulated engine as bytes: the HTTP endpoints of vLLM 0.32 and llama.cpp b11549 as they were
// recorded, on top of EngineModel, and the faults that tests inject.
//
// No sockets, no clock: a server hands in parsed requests and the time, writes the bytes that come
// out, and reports connections that went away. Not thread-safe.
//
// Endpoints. vLLM: POST /v1/completions /v1/chat/completions /tokenize /detokenize, GET /v1/models
// /version /health /load /metrics. llama.cpp: POST /completion /completions /v1/completions
// /v1/chat/completions /tokenize /detokenize /apply-template, GET /v1/models /props /slots /health
// /metrics. Both: POST /v1/embeddings /pooling /v1/rerank /v2/rerank /rerank /v1/score /score
// /classify /v1/audio/transcriptions /v1/audio/translations /v1/audio/speech /v1/responses
// /v1/messages (invented answers, the same bytes for the same request and model); POST /sim/fault,
// GET /sim/stats.
//
// Faults, POST /sim/fault {"kind": …}; the answer is 200 {"ok":true}, or 400:
//   freeze {"ms"?}      nothing answers, /health included, until `ms` passed or `unfreeze`;
//                       what was asked meanwhile is answered then. /sim/* always answers.
//   unfreeze
//   pause {"ms"}        all streams silent that long, /health fine
//   slow {"factor"}     everything takes that many times as long; 1 ends it
//   wedge, unwedge      /health fine, new requests taken, no more tokens
//   die {"how", "after_tokens"?}  sigkill | exit: the process; vllm: in-band error, [DONE], clean
//                       end, /health 503, exit after 2 s; llama: all connections cut, exit.
//                       after_tokens counts tokens of all streams from now on
//   abort               all streams end with finish_reason "abort"
//   early_end           all streams end cleanly without a finish
//   half_event          all streams end cleanly in the middle of an event
//   reset_streams       all streams' connections are reset
//   drop_ids {"every"}  every n-th event that has ids comes without them; 0 ends it
//   status {"code", "retry_after"?, "count"?}  the next `count` (1) generate requests get that
//   status clear               ends pause, slow, wedge, drop_ids, status
// GET /sim/stats: {"requests","tokens","aborted","running","waiting","connections","streams",
//   "ttft_us":[{"request_id","us"}…],"gone_us":[…],"request_ids":[…]}; the lists hold the last
//   4,096. ttft_us is the engine's own time from the request's arrival to its first token, gone_us
//   when (CLOCK_MONOTONIC) the connection of an open answer was seen to go.
//
// A prompt that contains "<<poison>>" kills the process (sigkill) after `poison_after` tokens.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/random.hpp"
#include "base/time.hpp"
#include "simulator/engine_fault.hpp"
#include "simulator/engine_model.hpp"

namespace hf::simulator {

struct EngineApiOptions {
  EngineOptions engine;
  /// Over the vLLM dialect's model: no ids, no tokenizer, no counts; "" is off.
  std::string plain_as;       // "openai": no /health either; "sglang": says that it is SGLang
  std::string model = "sim";  // the id in /v1/models; llama.cpp accepts any name
  std::int64_t unix_at_zero_s = 1'795'314'000;  // unix time at Instant{}: for `created` and `date`
  std::vector<std::string> loras;     // names of adapters (vLLM): models that write other tokens
  bool images = false;                // a multimodal model: image_url parts are taken
  std::int32_t reasoning_tokens = 0;  // of each chat answer, the first so many are its reasoning
  bool other_endpoints = false;       // off: 404, as a model that only generates was recorded
  std::string api_key;                // not empty: 401 without it, except for health and statistics
  std::int32_t poison_after = 2;      // tokens of a poisoned request before the process dies
};

/// One request, whole. Views are only read during the call.
struct EngineCall {
  std::string_view method;
  std::string_view target;  // path and query
  std::string_view body;
  std::string_view request_id;  // X-Request-Id, empty if none
  bool keep_alive = false;      // false: the answer says so, and the server closes after it
  std::string_view content_type;
  std::string_view authorization;
};

enum class StreamEnd : std::uint8_t {
  kOpen,   // more to come
  kDone,   // the answer is whole: keep or close the connection, as EngineCall::keep_alive said
  kCut,    // close now (FIN), although the answer is not whole
  kReset,  // reset now (RST)
};

/// Bytes to write on one connection: heads and chunk framing included.
struct EngineOutput {
  std::uint64_t stream = 0;  // the id that handle() returned
  std::string bytes;         // may be empty when only `end` matters
  StreamEnd end = StreamEnd::kOpen;
};

/// What the process itself must do, after the outputs of the same poll() were written.
enum class ProcessAction : std::uint8_t { kNone, kSigkill, kExit };

class EngineDialect;
struct ApiStream;
struct Choice;
struct DialectContext;
struct GenerateCall;
struct OtherAnswer;
struct Page;

class EngineApi {
 public:
  explicit EngineApi(EngineApiOptions options);
  ~EngineApi();
  EngineApi(const EngineApi&) = delete;
  EngineApi& operator=(const EngineApi&) = delete;

  /// Answers at once (end != kOpen), or opens a stream whose bytes come from poll(); vLLM's head is
  /// in the first output already. `stream` is new in every answer. Never fails: bad input gets the
  /// engine's own error bytes. At most 4,096 open streams; beyond, the connection is reset.
  EngineOutput handle(const EngineCall& call, Instant now);

  /// Appends what is due at `now`, at most one output a stream.
  void poll(Instant now, std::vector<EngineOutput>& out);

  /// When poll() has something to do next; kNever if only input can change that.
  Instant next_event_at() const;

  /// The connection of an open stream went away. The sequence ends at once, but llama.cpp does not
  /// notice for answers that are not streamed: those run on until nobody else writes for 1 s.
  void gone(std::uint64_t stream, Instant now);

  /// What a fault wants the process to do; asked after every handle() and poll(). Told once.
  ProcessAction take_process_action();

  /// For /sim/stats only.
  void set_connections(std::size_t open) { connections_ = open; }

  const EngineModel& model() const { return model_; }
  bool frozen(Instant now) const { return now < frozen_until_; }

 private:
  struct Parked {  // asked while frozen
    std::uint64_t id = 0;
    std::string method, target, body, request_id, content_type, authorization;
    bool keep_alive = false;
    Instant received_at{};
  };
  struct Timed {                      // an answer that takes time and is no tokens of the model
    std::vector<std::string> pieces;  // framed
    std::size_t next = 0;
    Instant at{};
    bool in_chunks = false;
  };
  struct FirstToken {
    std::string request_id;
    std::int64_t us = 0;
  };

  DialectContext context() const;
  EngineOutput process(std::uint64_t id, const EngineCall& call, Instant received_at);
  EngineOutput generate(std::uint64_t id, const EngineCall& call, std::string_view path,
                        Instant received_at);
  EngineOutput open_stream(std::unique_ptr<ApiStream> stream);
  EngineOutput answer(std::uint64_t id, const Page& page, bool keep_alive) const;
  void park(std::uint64_t id, const EngineCall& call);
  void unpark(std::vector<EngineOutput>& out);

  void take_event(const TokenEvent& event);
  void write_event(ApiStream& stream, Choice& choice, const TokenEvent& event);
  void note_first_token(ApiStream& stream);
  void complete(ApiStream& stream);
  void end_stream(ApiStream& stream, std::string_view bytes, StreamEnd end);
  void add_head(ApiStream& stream);
  void flush(std::vector<EngineOutput>& out);
  void forget(std::uint64_t id);
  void drop_unnoticed();
  Instant unnoticed_until(const ApiStream& stream) const;

  // engine_api_timed.cpp
  EngineOutput open_timed(std::uint64_t id, const EngineCall& call, const OtherAnswer& other);
  Instant next_timed_at() const;
  void poll_timed(std::vector<EngineOutput>& out);
  void end_timed(FaultKind kind);

  std::optional<Page> refused();
  bool is_let_in(const EngineCall& call, std::string_view path) const;
  EngineOutput sim(std::uint64_t id, const EngineCall& call, std::string_view path);
  bool apply(const Fault& fault);
  void hold_model();
  void end_all(FaultKind kind);
  void die(Death how);
  void die_as_vllm();
  std::string stats() const;

  EngineApiOptions options_;
  EngineModel model_;
  std::unique_ptr<EngineDialect> dialect_;
  Random ids_;
  std::map<std::uint64_t, std::unique_ptr<ApiStream>> streams_;
  std::unordered_map<SequenceId, std::pair<ApiStream*, std::size_t>> owners_;  // and which choice
  std::map<std::uint64_t, Timed> timed_;
  std::uint64_t last_stream_ = 0;
  Instant now_{};
  std::vector<TokenEvent> events_;
  std::vector<std::uint64_t> dirty_;  // streams with bytes for this poll
  std::vector<EngineOutput> ready_;   // ends of streams for the next poll
  std::deque<Parked> parked_;
  std::size_t unnoticed_ = 0;  // open answers whose client is gone
  Instant last_result_at_{};

  Instant frozen_until_{};
  Instant paused_until_{};
  std::optional<Death> death_;  // after so many tokens:
  std::int64_t death_tokens_ = 0;
  bool dead_ = false;    // vLLM: the engine behind the server died
  bool halted_ = false;  // the process should be gone
  Instant exit_at_ = kNever;
  ProcessAction action_ = ProcessAction::kNone;
  std::int64_t drop_every_ = 0, drop_count_ = 0;
  Fault refusal_;
  std::int64_t refusals_left_ = 0;

  std::size_t connections_ = 0;
  std::uint64_t requests_ = 0;
  std::deque<std::string> request_ids_;
  std::deque<FirstToken> first_tokens_;
  std::deque<Instant> gone_at_;
};

}  // namespace hf::simulator
