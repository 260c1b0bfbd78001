// Questions that a resume needs answered by the replacement, over whole requests and answers.
#include <utility>

#include "engine/questions.hpp"
#include "frontend/request_driver.hpp"
#include "http/fetch.hpp"
#include "net/clock.hpp"

namespace hf::frontend {
namespace {

constexpr Duration kCallMax = std::chrono::seconds(5);
constexpr std::size_t kAnswerBytesMax = 32UL * 1024 * 1024;

/// How a question ended: an answer, or whether the engine refused it (not: could not be reached).
template <class Answer>
struct Outcome {
  Answer answer{};
  bool ok = false;
  bool refused = false;
};

template <class Answer, class Asking>
net::Task<Outcome<Answer>> put(http::Pool& pool, EngineFacts facts, Asking asking) {
  auto step = asking.start();
  while (auto* call = std::get_if<engine::WireRequest>(&step)) {
    http::FetchRequest request;
    request.method = std::string(call->method);
    request.target = std::move(call->path);
    request.body = std::move(call->body);
    request.headers.append("Content-Type", "application/json");
    if (!facts.authorization.empty()) request.headers.append("Authorization", facts.authorization);
    auto fetched = http::fetch(pool, facts.endpoint, std::move(request), net::now() + kCallMax,
                               kAnswerBytesMax);
    auto response = co_await std::move(fetched);
    Outcome<Answer> lost;
    if (!response) co_return lost;
    step = asking.next(response->status, response->body);
  }
  Outcome<Answer> outcome;
  if (auto* answer = std::get_if<Answer>(&step)) {
    outcome.answer = std::move(*answer);
    outcome.ok = true;
  } else {
    outcome.refused = std::get<Error>(step).retry != Retry::kOtherWorker;
  }
  co_return outcome;
}

}  // namespace

net::Task<void> RequestDriver::run_question(std::shared_ptr<RequestDriver> self,
                                            core::Question question, std::size_t worker,
                                            std::uint32_t plan) {
  if (self->is_done_) co_return;
  auto& machine = *self->machine_;
  auto& pool = self->core_.pool();
  const auto facts = self->core_.fleet().facts[worker];
  if (question == core::Question::kText) {
    const auto ids = machine.text_ids();
    engine::AskText asking(facts.kind, machine.model(), engine::Ids(ids.begin(), ids.end()));
    auto task = put<std::string>(pool, facts, std::move(asking));
    const auto outcome = co_await std::move(task);
    if (self->is_done_) co_return;
    if (outcome.ok) {
      machine.on_answer(net::now(), question, plan, {}, outcome.answer);
    } else {
      machine.on_answer_failed(net::now(), question, plan, outcome.refused);
    }
    self->settle();
    co_return;
  }
  Outcome<engine::Ids> outcome;
  if (question == core::Question::kPromptIds) {
    engine::AskPromptIds asking(facts.kind, *self->request_);
    auto task = put<engine::Ids>(pool, facts, std::move(asking));
    outcome = co_await std::move(task);
  } else {
    engine::AskFill asking(facts.kind, machine.ledger().ids(), machine.ledger().gaps());
    auto task = put<engine::Ids>(pool, facts, std::move(asking));
    outcome = co_await std::move(task);
  }
  if (self->is_done_) co_return;
  if (outcome.ok) {
    machine.on_answer(net::now(), question, plan, outcome.answer, {});
  } else {
    machine.on_answer_failed(net::now(), question, plan, outcome.refused);
  }
  self->settle();
}

}  // namespace hf::frontend
