#include "net/core.hpp"

#include <boost/asio/co_spawn.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <pthread.h>

namespace hf::net {
namespace {

[[noreturn]] void die(const char* where, const char* task, const char* what) {
  std::fprintf(stderr, "holdfast: bug: exception in %s %s: %s\n", where, task, what);
  std::abort();
}

[[noreturn]] void die(const char* where, const char* task, const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    die(where, task, error.what());
  } catch (...) {
    die(where, task, "of an unknown type");
  }
}

}  // namespace

Core::Core(std::string name) : name_(std::move(name)) {}

Core::~Core() {
  stop();
  join();
  poller_.drop_waiters();
}

void Core::start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
    run();
  });
}

void Core::run() {
  try {
    io_.run();
  } catch (...) {
    die("a handler of core", name_.c_str(), std::current_exception());
  }
}

void Core::stop() {
  io_.stop();
}

void Core::join() {
  if (thread_.joinable()) thread_.join();
}

void Core::spawn(Task<void> task, const char* name) {
  tasks_live_.fetch_add(1, std::memory_order_relaxed);
  asio::co_spawn(io_, std::move(task), [this, name](const std::exception_ptr& thrown) {
    if (thrown) die("task", name, thrown);
    tasks_live_.fetch_sub(1, std::memory_order_relaxed);
  });
}

}  // namespace hf::net
