#include "telemetry/access_log.hpp"

#include <atomic>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "wire/json.hpp"

namespace hf::telemetry {
namespace {

namespace fs = std::filesystem;
using std::chrono::microseconds;
using std::chrono::milliseconds;

class AccessLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "hf_access_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::unique_ptr<AccessLog> open(std::size_t bytes_max = 1 << 20) {
    AccessLog::Options options;
    options.path = path();
    options.bytes_max = bytes_max;
    options.on_drop = [this] { ++on_drops_; };
    auto log = AccessLog::open(std::move(options));
    EXPECT_TRUE(log) << (log ? "" : log.error().detail);
    return log ? std::move(*log) : nullptr;
  }
  std::string path() const { return (dir_ / "access.log").string(); }
  static std::string read(const fs::path& file) {
    std::ifstream in(file);
    std::stringstream all;
    all << in.rdbuf();
    return all.str();
  }

  fs::path dir_;
  std::atomic<int> on_drops_{0};
};

AccessLine full_line() {
  AccessLine line;
  line.ts = std::chrono::system_clock::time_point(milliseconds(1'795'314'793'045));
  line.request_id = "r-1";
  line.model = "m";
  line.endpoint = "/v1/completions";
  line.status = 200;
  line.outcome = "ok";
  line.workers = {"w1", "w2"};
  line.modes = {"tokens"};
  line.reasons = {"reset"};
  line.pauses = {microseconds(12'345)};
  line.ttft = milliseconds(80);
  line.tokens = 64;
  line.session_hash = 0xabc;
  return line;
}

TEST(AccessLine, HasExactlyTheFieldsOfTheContract) {
  EXPECT_EQ(to_json_line(full_line()),
            "{\"ts\":\"2026-11-22T02:33:13.045Z\",\"request_id\":\"r-1\",\"model\":\"m\","
            "\"endpoint\":\"/v1/completions\",\"status\":200,\"outcome\":\"ok\","
            "\"workers\":[\"w1\",\"w2\"],\"modes\":[\"tokens\"],\"reasons\":[\"reset\"],"
            "\"pauses_ms\":[12.345],\"ttft_ms\":80.000,\"tokens\":64,"
            "\"session_hash\":\"0000000000000abc\"}\n");
}

TEST(AccessLine, TellsWhatIsNotKnownAsNull) {
  const std::string line = to_json_line(AccessLine{});
  EXPECT_TRUE(wire::json_valid(line)) << line;
  EXPECT_NE(line.find("\"workers\":[],"), std::string::npos);
  EXPECT_NE(line.find("\"ttft_ms\":null,"), std::string::npos);
  EXPECT_NE(line.find("\"session_hash\":null}"), std::string::npos);
}

TEST(AccessLine, StaysOneValidLineWhateverTheModelIsCalled) {
  AccessLine line = full_line();
  std::string all_bytes;
  for (int c = 0; c < 256; ++c) all_bytes += static_cast<char>(c);
  for (const std::string& name :
       {all_bytes, std::string("a\"b\\c\nd\r\te"), std::string(400, '\xc3'), std::string("é😀")}) {
    line.model = name;
    line.workers = {name};
    const std::string text = to_json_line(line);
    EXPECT_TRUE(wire::json_valid(text)) << text;
    EXPECT_EQ(text.find('\n'), text.size() - 1);
  }
}

TEST(AccessLine, IsBounded) {
  AccessLine line = full_line();
  line.model = std::string(100'000, 'm');
  line.workers.assign(1000, std::string(1000, 'w'));
  line.workers.back() = "last";
  const std::string text = to_json_line(line);
  EXPECT_LT(text.size(), 10'000u);
  EXPECT_NE(text.find("\"last\"]"), std::string::npos);
}

TEST_F(AccessLogTest, WritesLinesInOrder) {
  auto log = open();
  std::string expected;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    AccessLine line = full_line();
    line.tokens = i;
    EXPECT_TRUE(log->write(line));
    expected += to_json_line(line);
  }
  log->flush();
  EXPECT_EQ(read(path()), expected);
  EXPECT_EQ(log->dropped(), 0u);
}

TEST_F(AccessLogTest, WritesWhatIsQueuedAtItsEnd) {
  open()->write_raw("a\n");
  EXPECT_EQ(read(path()), "a\n");
  open()->write_raw("b\n");
  EXPECT_EQ(read(path()), "a\nb\n");
}

TEST_F(AccessLogTest, KeepsEveryLineOfManyThreads) {
  auto log = open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) log->write_raw("0123456789\n");
    });
  }
  for (std::thread& t : threads) t.join();
  log->flush();
  std::string expected;
  for (int i = 0; i < 2000; ++i) expected += "0123456789\n";
  EXPECT_EQ(read(path()), expected);
}

TEST_F(AccessLogTest, ReopensForRotation) {
  auto log = open();
  log->write_raw("old\n");
  log->flush();
  fs::rename(path(), dir_ / "rotated");
  log->reopen();
  log->flush();
  log->write_raw("new\n");
  log->flush();
  EXPECT_EQ(read(dir_ / "rotated"), "old\n");
  EXPECT_EQ(read(path()), "new\n");
}

TEST_F(AccessLogTest, KeepsTheOldFileWhenReopeningFails) {
  auto log = open();
  const fs::path moved = dir_ / "rotated";
  fs::rename(path(), moved);
  fs::create_directory(path());  // cannot be opened for writing
  log->reopen();
  log->flush();
  log->write_raw("still here\n");
  log->flush();
  EXPECT_EQ(log->reopen_failures(), 1u);
  EXPECT_EQ(read(moved), "still here\n");
}

TEST_F(AccessLogTest, NamesTheFileThatCannotBeOpened) {
  AccessLog::Options options;
  options.path = (dir_ / "no" / "such" / "folder").string();
  const auto log = AccessLog::open(options);
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().code, Code::kSystem);
  EXPECT_NE(log.error().detail.find(options.path), std::string::npos);
}

TEST_F(AccessLogTest, AReaderThatDoesNotReadCostsLinesNotTime) {
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  const int reader = ::open(path().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  const std::string line = std::string(999, 'x') + "\n";
  int accepted = 0;
  {
    auto log = open(100 * line.size());
    for (int i = 0; i < 2000; ++i) accepted += log->write_raw(line) ? 1 : 0;
    EXPECT_LT(accepted, 2000);  // the pipe, one batch and the queue are full
    EXPECT_EQ(log->dropped(), static_cast<std::uint64_t>(2000 - accepted));
  }  // ends though nobody reads
  EXPECT_GT(on_drops_, 2000 - accepted);
  ::close(reader);
}

TEST_F(AccessLogTest, SurvivesAReaderThatLeft) {
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  const int reader = ::open(path().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  auto log = open();
  ::close(reader);
  log->write_raw("lost\n");
  log->flush();
  EXPECT_EQ(log->dropped(), 1u);
  EXPECT_EQ(on_drops_, 1);
}

}  // namespace
}  // namespace hf::telemetry
