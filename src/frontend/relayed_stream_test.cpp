#include "frontend/relayed_stream.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace hf::frontend {
namespace {

namespace json = boost::json;

void feed(RelayedStream& stream, std::string_view bytes) {
  wire::SseScanner scanner(4096);
  while (!bytes.empty()) {
    const auto event = scanner.next(bytes);
    ASSERT_TRUE(event && *event);
    stream.saw(**event);
    bytes.remove_prefix((*event)->size);
  }
}

json::object data_of(std::string_view event, std::string_view name) {
  EXPECT_TRUE(event.starts_with("event: " + std::string(name) + "\ndata: ")) << event;
  EXPECT_TRUE(event.ends_with("\n\n"));
  return json::parse(event.substr(event.find('{'))).as_object();
}

core::ClientError failed() {
  core::ClientError error;
  error.status = 502;
  error.type = "server_error";
  error.code = "upstream_failed";
  error.message = "It \"died\".";
  return error;
}

TEST(RelayedStream, MessagesAreWholeAfterTheirStop) {
  RelayedStream stream(StreamForm::kMessages, "m");
  feed(stream,
       "event: message_start\ndata: {}\n\n: ping\n\nevent: content_block_delta\ndata: {}\n\n");
  EXPECT_FALSE(stream.is_whole());
  const auto error = data_of(stream.error_event(failed()), "error");
  EXPECT_EQ(error.at("type").as_string(), "error");
  EXPECT_EQ(error.at("error").at("type").as_string(), "api_error");
  EXPECT_EQ(error.at("error").at("message").as_string(), "It \"died\".");
  feed(stream, "event: message_stop\ndata: {}\n\n");
  EXPECT_TRUE(stream.is_whole());
}

TEST(RelayedStream, ResponsesFailUnderTheirOwnIdAndNextNumber) {
  RelayedStream stream(StreamForm::kResponses, "m");
  feed(stream,
       "event: response.created\ndata: {\"response\":{\"id\":\"resp_8\",\"model\":\"m\"}}\n\n"
       "event: response.output_text.delta\ndata: {\"delta\":\"a\",\"item_id\":\"x\"}\n\n");
  EXPECT_FALSE(stream.is_whole());
  const auto event = data_of(stream.error_event(failed()), "response.failed");
  EXPECT_EQ(event.at("type").as_string(), "response.failed");
  EXPECT_EQ(event.at("sequence_number").as_int64(), 2);
  EXPECT_EQ(event.at("response").at("id").as_string(), "resp_8");
  EXPECT_EQ(event.at("response").at("status").as_string(), "failed");
  for (const std::string name : {"response.completed", "response.incomplete", "response.failed"}) {
    RelayedStream other(StreamForm::kResponses, "m");
    feed(other, "event: " + name + "\ndata: {}\n\n");
    EXPECT_TRUE(other.is_whole()) << name;
  }
}

TEST(RelayedStream, OthersAreWholeAtACleanEndIfThereWasAnything) {
  RelayedStream stream(StreamForm::kOpenAi, "m");
  EXPECT_FALSE(stream.is_whole());
  feed(stream, "data: {}\n\n");
  EXPECT_TRUE(stream.is_whole());
  EXPECT_TRUE(stream.error_event(failed()).starts_with("data: {\"error\":"));
}

}  // namespace
}  // namespace hf::frontend
