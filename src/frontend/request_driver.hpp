// Carries out what one RequestMachine decides: opens attempts, asks questions, writes to the
// client. It decides nothing. Lives on its data core, owned by it and by its client session.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/request_machine.hpp"
#include "engine/dialect.hpp"
#include "engine/request.hpp"
#include "engine/skeleton.hpp"
#include "engine/stream_reader.hpp"
#include "engine/whole_body.hpp"
#include "frontend/data_core.hpp"
#include "frontend/relayed_stream.hpp"
#include "http/server_connection.hpp"

namespace hf::frontend {

class AttemptDriver;

class RequestDriver final : public core::RequestActions,
                            public std::enable_shared_from_this<RequestDriver> {
 public:
  /// `client` must outlive is_finished().
  RequestDriver(DataCore& core, http::ServerConnection& client, http::Request request,
                const Destination& to, std::string request_id);
  ~RequestDriver() override;

  void start(Instant now);
  bool is_finished() const { return is_finished_; }
  /// Notified once, when is_finished() becomes true.
  net::Signal& finished() { return finished_; }
  bool keep_connection() const { return keep_connection_; }

  void on_view(Instant now);
  void on_room(Instant now);
  void tick(Instant now);
  void restart_clocks(Instant now, Duration late);
  /// Tells the byte budget what this request holds now.
  void count_memory();
  /// False: it had ended already.
  bool cancel_by_operator(core::CancelMode mode);
  /// One JSON object for the admin API.
  std::string describe(Instant now) const;
  /// The process ends: one clear error now.
  void cut();
  /// The core is gone: lets go of what the machine holds in the workers' cells. Last call.
  void abandon();

  // For its attempts.
  const std::string& request_id() const { return request_id_; }
  /// One event of an attempt, to the machine.
  void report(AttemptDriver& attempt, const core::UpstreamEvent& event);
  core::RequestMachine& machine() { return *machine_; }
  DataCore& data_core() { return core_; }
  http::ServerConnection& client() { return client_; }
  const engine::ClientRequest& request() const { return *request_; }
  const wire::Headers& forwarded_headers() const { return forwarded_headers_; }
  engine::Skeleton* skeleton() { return skeleton_ ? &*skeleton_ : nullptr; }
  void capture(AttemptDriver& attempt, std::string_view edited_event);
  const engine::Identity* identity_for(const AttemptDriver& attempt) const;
  void release(AttemptDriver& attempt);
  /// Not null: the answer goes on as it comes.
  const Route* route() const { return route_; }
  /// Whole events, or any bytes where the answer is no event stream. After relay_begin().
  void relay_bytes(std::string_view bytes);
  /// A new attempt's answer begins: an event stream, of which nothing is known yet, or not.
  void expect_events(bool is_stream);
  /// What is known of the event stream.
  RelayedStream& relay_events() { return *relay_stream_; }
  /// After each input to the machine: flush what it wrote, close the books if it is done.
  void settle();

  // RequestActions
  void open(const core::OpenAttempt& open) override;
  void cancel(core::AttemptId attempt) override;
  void report(std::size_t worker, core::Reason reason) override;
  void ask(core::Question question, std::size_t worker, std::uint32_t plan) override;
  void forward(core::AttemptId attempt) override;
  void say_role() override;
  void say(std::string_view text) override;
  void say_finish(core::Finish finish, std::string_view stop_string) override;
  void say_usage() override;
  void comment(std::string_view text) override;
  void discard() override;
  void complete() override;
  void relay_begin(core::AttemptId attempt) override;
  void relay_whole(core::AttemptId attempt) override;
  void fail(const core::ClientError& error) override;

 private:
  /// What is kept of an answer that is assembled, beside its text.
  struct Whole {
    std::shared_ptr<const engine::WholeTemplate> form;
    engine::Identity identity;
    std::string finish_reason, stop_reason, usage, timings;
  };

  void begin(core::RequestSpec spec, Instant now);
  void refuse_body(const Error& error);
  // request_relay.cpp
  void start_relay(Instant now);
  engine::WireRequest relayed_call() const;
  void complete_relay();
  void fail_relay(const core::ClientError& error);

  void prepare(core::RequestSpec& spec);
  void serve_with(std::string_view model);
  core::MigrationOptions limits_of(std::string_view model) const;
  void note_queue();
  static core::RequestSpec spec_of(const engine::ClientRequest& request, std::string model);
  std::string model_of(const engine::ClientRequest& request) const;
  AttemptDriver* find(core::AttemptId id);
  void send_event(std::string_view event);
  void send_head();
  void keep_event(const AttemptDriver& attempt);
  void complete_whole();
  std::string_view whole_fidelity() const;
  std::string_view fidelity() const;
  std::string_view text_fidelity() const;
  engine::Counts counts() const;
  void finish(int status, std::string_view outcome);
  void write_access_line();
  std::string_view endpoint_path() const;
  void client_gone();
  void count_migrations();
  static net::Task<void> run_question(std::shared_ptr<RequestDriver> self, core::Question question,
                                      std::size_t worker, std::uint32_t plan);

  DataCore& core_;
  http::ServerConnection& client_;
  http::Request http_;
  core::Endpoint endpoint_;
  const Route* route_ = nullptr;
  std::optional<RelayedStream> relay_stream_;
  http::Framing relay_framing_ = http::Framing::kChunked;
  std::string request_id_;
  std::optional<engine::ClientRequest> request_;
  wire::Headers forwarded_headers_;
  std::unique_ptr<core::RequestMachine> machine_;
  std::vector<std::shared_ptr<AttemptDriver>> attempts_;
  std::optional<engine::Skeleton> skeleton_;
  core::AttemptId skeleton_from_ = 0;
  std::optional<engine::Identity> identity_;
  std::optional<Whole> whole_;
  core::AttemptId identity_from_ = 0;
  AttemptDriver* reporting_ = nullptr;         // whose event the machine is looking at
  std::shared_ptr<AttemptDriver> last_whole_;  // the last error answer, should it be passed on
  std::string event_;                          // scratch
  net::Signal finished_;
  std::shared_ptr<telemetry::Gauge> running_gauge_;
  std::shared_ptr<telemetry::Gauge> queued_gauge_;
  std::uint64_t session_ = 0;
  bool is_counted_queued_ = false;
  std::string model_label_{telemetry::kUnknownModel};
  std::uint64_t tokens_sent_ = 0;
  Instant started_{};
  Instant last_token_{};
  int status_ = 0;
  std::string outcome_;
  bool head_sent_ = false;
  bool chunked_ = true;
  bool is_done_ = false;      // the last action was carried out
  bool is_finished_ = false;  // and the books are closed
  bool keep_connection_ = false;
  bool approximate_ = false;
  bool stopped_ = false;           // by the operator
  Instant alone_since_{};          // the client left, and the generation goes on to its end
  std::uint64_t tokens_read_ = 0;  // before it left
};

}  // namespace hf::frontend
