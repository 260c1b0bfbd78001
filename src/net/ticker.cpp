#include "net/ticker.hpp"

#include "net/clock.hpp"

namespace hf::net {

struct Ticker::State {
  State(Core& core, Duration tick_period, Function call)
      : timer(core.executor()), period(tick_period), fn(std::move(call)) {}
  Timer timer;
  Duration period;
  Function fn;
  bool is_stopped = false;
};

Ticker::Ticker(Core& core, Duration period, Function fn)
    : state_(std::make_shared<State>(core, period, std::move(fn))) {
  core.spawn(run(state_), "ticker");
}

void Ticker::stop() {
  state_->is_stopped = true;
  state_->timer.cancel();
}

Task<void> Ticker::run(std::shared_ptr<State> state) {
  Instant due = after(now(), state->period);
  while (!state->is_stopped) {
    state->timer.expires_at(to_steady(due));
    co_await state->timer.async_wait(tok);
    if (state->is_stopped) break;
    const Instant at = now();
    const Duration lag = at - due;
    state->fn(at, lag > Duration::zero() ? lag : Duration::zero());
    due += state->period;
    if (due <= at) due = at + state->period;
  }
}

}  // namespace hf::net
