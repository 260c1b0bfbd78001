// The program as a process: its ready line, its port file, its ways to end.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <signal.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include "engine_server/engine_server.hpp"
#include "http/raw_socket_for_tests.hpp"

namespace hf::engine_server {
namespace {

using http::RawSocket;

class EngineProcess {
 public:
  explicit EngineProcess(const EngineServerOptions& options) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    std::fflush(nullptr);  // or the child writes what gtest has buffered
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::_exit(run_engine(options));
    }
    ::close(ends[1]);
    std::FILE* out = ::fdopen(ends[0], "r");
    char line[256] = "";
    EXPECT_NE(std::fgets(line, sizeof line, out), nullptr);
    ready_line = line;
    std::fclose(out);
    const auto colon = ready_line.find("127.0.0.1:");
    if (colon != std::string::npos) {
      port = static_cast<std::uint16_t>(std::atoi(ready_line.c_str() + colon + 10));
    }
  }
  ~EngineProcess() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    wait();
  }
  EngineProcess(const EngineProcess&) = delete;
  EngineProcess& operator=(const EngineProcess&) = delete;

  void signal(int number) const { ::kill(pid_, number); }
  /// The status of waitpid().
  int wait() {
    int status = 0;
    if (pid_ > 0) ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

  std::string ready_line;
  std::uint16_t port = 0;

 private:
  pid_t pid_ = -1;
};

std::string post(std::string_view path, std::string_view body) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nhost: x\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body);
}

EngineServerOptions llama() {
  EngineServerOptions options;
  options.api.engine.dialect = simulator::Dialect::kLlama;
  options.api.model = "some-model";
  return options;
}

TEST(RunEngine, SaysWhenItIsReadyAndEndsWithZeroOnSigterm) {
  auto options = llama();
  options.port_file = testing::TempDir() + "engine_port_" + std::to_string(::getpid());
  EngineProcess engine(options);
  EXPECT_EQ(engine.ready_line,
            "holdfast engine: listening on 127.0.0.1:" + std::to_string(engine.port) +
                " dialect=llama.cpp model=some-model\n");
  int written = 0;
  std::ifstream(options.port_file) >> written;
  EXPECT_EQ(written, engine.port);
  ::unlink(options.port_file.c_str());
  engine.signal(SIGTERM);
  const int status = engine.wait();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(RunEngine, DiesBySigkillInTheMiddleOfAStream) {
  EngineProcess engine(llama());
  auto stream = RawSocket::connect(engine.port);
  stream.send(post("/v1/completions",
                   R"({"prompt":"The sea","stream":true,"temperature":0,"ignore_eos":true})"));
  stream.read_until("\"text\"");
  auto admin = RawSocket::connect(engine.port);
  admin.send(post("/sim/fault", R"({"kind":"die","how":"sigkill","after_tokens":3})"));
  const int status = engine.wait();
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(RunEngine, AnExitFaultGivesOne) {
  EngineProcess engine(llama());
  auto admin = RawSocket::connect(engine.port);
  admin.send(post("/sim/fault", R"({"kind":"die","how":"exit"})"));
  const int status = engine.wait();
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST(RunEngine, ATakenPortIsAnErrorThatNamesIt) {
  http::RawListener other;
  auto options = llama();
  options.listen = "127.0.0.1:" + std::to_string(other.port());
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_engine(options), 1);
  const std::string message = testing::internal::GetCapturedStderr();
  EXPECT_NE(message.find("cannot listen on " + options.listen), std::string::npos);
}

}  // namespace
}  // namespace hf::engine_server
