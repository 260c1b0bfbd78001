// From a plain thread (main, a test) into a coroutine and back.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/time.hpp"
#include "net/core.hpp"

namespace hf::net {

namespace detail {
template <class T>
Task<void> fulfil(Task<T> task, std::shared_ptr<std::promise<T>> promise) {
  if constexpr (std::is_void_v<T>) {
    co_await std::move(task);
    promise->set_value();
  } else {
    promise->set_value(co_await std::move(task));
  }
}
}  // namespace detail

/// Starts `task` on `core`; the future has its value. What the task refers to must outlive it.
template <class T>
std::future<T> run_async(Core& core, Task<T> task) {
  auto promise = std::make_shared<std::promise<T>>();
  auto future = promise->get_future();
  core.spawn(detail::fulfil<T>(std::move(task), std::move(promise)), "run_async");
  return future;
}

/// Runs `task` on the started `core` and waits for its value, at most `limit`. nullopt = it is not
/// done (it goes on running; what it refers to must live). For void it tells done or not.
template <class T>
auto run_blocking(Core& core, Task<T> task, Duration limit) {
  auto future = run_async(core, std::move(task));
  const bool is_done = future.wait_for(limit) == std::future_status::ready;
  if constexpr (std::is_void_v<T>) {
    return is_done;
  } else {
    std::optional<T> value;
    if (is_done) value.emplace(future.get());
    return value;
  }
}

}  // namespace hf::net
