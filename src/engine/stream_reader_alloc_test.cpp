// An event costs no allocation once the reader's buffers have grown.
#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <new>

#include "engine/recorded_test_support.hpp"
#include "engine/stream_reader.hpp"

namespace {
std::atomic<long> g_allocations{0};
}  // namespace

void* operator new(std::size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace hf::engine {
namespace {

void expect_no_allocation(const ReaderOptions& options, std::string_view name) {
  const auto events = recorded_events(options.kind, name);
  StreamReader reader(options);
  std::string out;
  const auto run = [&] {
    for (const auto& event : events) {
      out.clear();
      const auto read = reader.read(data_of(event));
      if (read) append_edited(out, event, *read);
    }
  };
  run();
  const long before = g_allocations.load();
  run();
  EXPECT_EQ(g_allocations.load() - before, 0) << name;
}

TEST(StreamReaderAllocations, NoneInTheSteadyState) {
  const long before = g_allocations.load();
  expect_no_allocation({Kind::kVllm, Called::kChat, true, false, false, "\"f\""},
                       "chat-stream-ids-continuous-usage");
  expect_no_allocation({Kind::kVllm, Called::kTokens, true, false, false, ""},
                       "completions-stream-ids");
  expect_no_allocation({Kind::kLlamaCpp, Called::kChat, true, false, false, ""},
                       "chat-emoji-logprobs-timings");
  expect_no_allocation({Kind::kLlamaCpp, Called::kTokens, true, false, false, ""},
                       "completion-native-emoji");
  EXPECT_GT(g_allocations.load(), before);  // the counter counts
}

}  // namespace
}  // namespace hf::engine
