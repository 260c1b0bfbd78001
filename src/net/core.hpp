// A core: one io_context, one thread, and everything that lives on it.
//
// Objects of a core are touched only from its thread; what comes from elsewhere comes by post().
// Before start() (or run()) the constructing thread counts as the core's thread.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <cstddef>
#include <string>
#include <thread>
#include <utility>

#include "net/poller.hpp"
#include "net/types.hpp"

namespace hf::net {

class Core {
 public:
  /// `name` becomes the thread's name (the first 15 characters).
  explicit Core(std::string name);
  /// Stops and joins. Coroutines that still wait are destroyed where they stand: their locals'
  /// destructors run, nothing after their co_await does.
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  /// Runs the core on a thread of its own. Once.
  void start();
  /// Runs the core on the calling thread until stop(). An alternative to start().
  void run();
  /// Ends the loop after the handler that runs now. Any thread, any number of times.
  void stop();
  /// Waits for the thread of start() to end. Not from the core itself.
  void join();

  /// Runs `fn` on the core, later, in order of posting. Any thread. `fn` must not throw.
  template <class Function>
  void post(Function&& fn) {
    asio::post(io_, std::forward<Function>(fn));
  }

  /// Starts a coroutine that nobody awaits. Any thread. An exception that leaves it is a bug: it is
  /// written to stderr with `name` and ends the process. `name` must be a literal. What the task
  /// refers to must outlive it (shared_ptr arguments, or an owner that waits for its end).
  void spawn(Task<void> task, const char* name);

  /// Spawned coroutines that have not ended. Any thread.
  std::size_t tasks_live() const { return tasks_live_.load(std::memory_order_relaxed); }
  bool is_this_thread() const { return io_.get_executor().running_in_this_thread(); }

  Io& io() { return io_; }
  Executor executor() { return io_.get_executor(); }
  Poller& poller() { return poller_; }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::atomic<std::size_t> tasks_live_ = 0;
  Poller poller_{io_};  // outlives what io_ destroys
  mutable Io io_{1};
  asio::executor_work_guard<Executor> work_{io_.get_executor()};
  std::thread thread_;
};

}  // namespace hf::net
