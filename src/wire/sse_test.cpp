#include "wire/sse.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "base/random.hpp"

namespace hf::wire {
namespace {

/// An event with copies of everything.
struct Seen {
  std::string whole, data, event, id;
  bool has_data, comment_only;
  bool operator==(const Seen&) const = default;
};

struct Outcome {
  std::vector<Seen> events;
  std::string rest;
  bool ok = true;
};

/// Gives `text` to a scanner in pieces, as a reader does that drops what it has used.
template <class Piece>
Outcome run(std::string_view text, std::size_t max, Piece piece) {
  SseScanner scanner(max);
  Outcome out;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, piece());
    text.remove_prefix(part.size());
    const std::string buffer = out.rest + std::string(part);  // moves with every piece
    std::string_view rest = buffer;
    for (;;) {
      const auto e = scanner.next(rest);
      if (!e) {
        out.ok = false;
        EXPECT_EQ(e.error().code, Code::kTooLarge);
        return out;
      }
      if (!*e) break;
      EXPECT_EQ((*e)->whole, rest.substr(0, (*e)->size));
      out.events.push_back({std::string((*e)->whole), std::string((*e)->data),
                            std::string((*e)->event), std::string((*e)->id), (*e)->has_data,
                            (*e)->comment_only});
      rest.remove_prefix((*e)->size);
    }
    out.rest = std::string(rest);
  }
  return out;
}

Outcome run(std::string_view text, std::size_t max = 1000) {
  return run(text, max, [] { return std::string_view::npos; });
}

TEST(Sse, FindsEventsWithAnyLineEnd) {
  const Outcome o = run("data: a\n\ndata: b\r\n\r\ndata: c\n\r\ndata: d\r\n\ndata: half\n");
  ASSERT_EQ(o.events.size(), 4u);
  EXPECT_EQ(o.events[0].data, "a");
  EXPECT_EQ(o.events[0].whole, "data: a\n\n");
  EXPECT_EQ(o.events[1].data, "b");
  EXPECT_EQ(o.events[1].whole, "data: b\r\n\r\n");
  EXPECT_EQ(o.events[2].data, "c");
  EXPECT_EQ(o.events[3].data, "d");
  EXPECT_EQ(o.rest, "data: half\n");
}

TEST(Sse, ReadsFields) {
  const Outcome o =
      run(": hi\nevent: message_start\nid:7\nretry: 100\nunknown\ndata:{\"a\":1}\n\n"
          "data:  two spaces\n\ndata\n\ndata:\n\nevent:x\nevent: y\n\nretry: 5\n\n");
  ASSERT_EQ(o.events.size(), 6u);
  EXPECT_EQ(o.events[0].event, "message_start");
  EXPECT_EQ(o.events[0].id, "7");
  EXPECT_EQ(o.events[0].data, "{\"a\":1}");
  EXPECT_EQ(o.events[1].data, " two spaces");
  EXPECT_TRUE(o.events[2].has_data);
  EXPECT_EQ(o.events[2].data, "");
  EXPECT_TRUE(o.events[3].has_data);
  EXPECT_EQ(o.events[4].event, "y");
  EXPECT_FALSE(o.events[4].has_data);
  EXPECT_FALSE(o.events[5].comment_only);
}

TEST(Sse, TellsCommentsAndBlankLines) {
  const Outcome o = run(": waiting\n\n\n\r\n:\n: x\n\ndata: a\n\n");
  ASSERT_EQ(o.events.size(), 5u);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(o.events[static_cast<std::size_t>(i)].comment_only) << i;
  EXPECT_FALSE(o.events[0].has_data);
  EXPECT_FALSE(o.events[4].comment_only);
}

TEST(Sse, JoinsSeveralDataLines) {
  const Outcome o = run("data: a\ndata:\r\nevent: e\ndata: c\n\ndata: d\n\ndata: e\ndata: f\n\n");
  ASSERT_EQ(o.events.size(), 3u);
  EXPECT_EQ(o.events[0].data, "a\n\nc");
  EXPECT_EQ(o.events[1].data, "d");
  EXPECT_EQ(o.events[2].data, "e\nf");
}

TEST(Sse, DoesNotCopyOneDataLine) {
  const std::string buffer = "data: abc\n\n";
  SseScanner scanner(100);
  const auto e = scanner.next(buffer);
  ASSERT_TRUE(e && *e);
  EXPECT_EQ((*e)->data.data(), buffer.data() + 6);
}

TEST(Sse, KeepsALoneCarriageReturnInTheValue) {
  const Outcome o = run("data: a\rb\r\r\n\n");
  ASSERT_EQ(o.events.size(), 1u);
  EXPECT_EQ(o.events[0].data, "a\rb\r");
}

TEST(Sse, SkipsAByteOrderMarkAtTheStartOnly) {
  const Outcome o =
      run("\xef\xbb\xbf"
          "data: a\n\n\xef\xbb\xbf"
          "data: b\n\n");
  ASSERT_EQ(o.events.size(), 2u);
  EXPECT_EQ(o.events[0].data, "a");
  EXPECT_FALSE(o.events[1].has_data);
}

TEST(Sse, BoundsAnEvent) {
  const std::string event = "data: 0123456789\n\n";
  EXPECT_EQ(run(event + event, event.size()).events.size(), 2u);
  EXPECT_FALSE(run(event, event.size() - 1).ok);
  EXPECT_FALSE(run(std::string(101, 'x'), 100).ok);
  const Outcome just = run(std::string(100, 'x'), 100);
  EXPECT_TRUE(just.ok);
  EXPECT_TRUE(just.events.empty());
}

TEST(Sse, ResetStartsAnew) {
  SseScanner scanner(100);
  ASSERT_FALSE(*scanner.next("data: a\n"));
  scanner.reset();
  const auto e = scanner.next("\ndata: b\n\n");
  ASSERT_TRUE(e && *e);
  EXPECT_EQ((*e)->size, 1u);
}

TEST(Sse, FindsTheSameHoweverItIsSplit) {
  static const std::vector<std::string> kParts = {
      "data: {\"a\":1}", "data:x", "data",     ":",    ": c",
      "event: e",        "id: 1",  "retry: 1", "\r",   "x: y",
      "\xef\xbb\xbf",    "\n",     "\r\n",     "\n\n", "\r\n\r\n",
      "\n\r\n"};
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    std::string text;
    for (std::uint64_t n = random.below(40); n > 0; --n) {
      text += kParts[random.below(kParts.size())];
      if (random.chance(0.7)) text += random.chance(0.5) ? "\n" : "\r\n";
    }
    const std::size_t max = random.chance(0.3) ? 5 + random.below(40) : 1000;
    const Outcome whole = run(text, max);
    std::string again;
    for (const Seen& e : whole.events) again += e.whole;
    if (whole.ok) EXPECT_EQ(again + whole.rest, text);
    for (int i = 0; i < 3; ++i) {
      const Outcome parts = run(text, max, [&] { return i == 0 ? 1 : 1 + random.below(12); });
      EXPECT_EQ(parts.events, whole.events);
      EXPECT_EQ(parts.ok, whole.ok);
      if (whole.ok) EXPECT_EQ(parts.rest, whole.rest);
    }
  }
}

}  // namespace
}  // namespace hf::wire
