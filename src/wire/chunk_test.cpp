#include "wire/chunk.hpp"

#include <gtest/gtest.h>
#include <string>

#include "base/random.hpp"

namespace hf::wire {
namespace {

struct Outcome {
  bool ok = true;
  Code code = Code::kBadInput;
  std::string body;
  std::size_t used = 0;
  bool done = false;
};

/// Feeds `text` in pieces whose sizes `piece` gives; stops at the end or an error.
template <class Piece>
Outcome run(std::string_view text, Piece piece) {
  ChunkDecoder decoder;
  Outcome out;
  while (out.used < text.size() && !decoder.done()) {
    const std::string part(text.substr(out.used, piece()));  // a copy: reads past it are found
    const auto n = decoder.decode(part, out.body);
    if (!n) {
      out.ok = false;
      out.code = n.error().code;
      return out;
    }
    EXPECT_LE(*n, part.size());
    EXPECT_TRUE(*n == part.size() || decoder.done());
    out.used += *n;
  }
  out.done = decoder.done();
  return out;
}

Outcome run(std::string_view text) {
  return run(text, [] { return std::string_view::npos; });
}

TEST(Chunk, DecodesABodyAndLeavesTheRest) {
  const Outcome o = run("5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\nGET /");
  EXPECT_TRUE(o.ok);
  EXPECT_TRUE(o.done);
  EXPECT_EQ(o.body, "hello world");
  EXPECT_EQ(o.used, std::string("5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-T: 1\r\n\r\n").size());
}

TEST(Chunk, TellsACutBody) {
  std::string body;
  ChunkDecoder decoder;
  EXPECT_FALSE(decoder.in_chunk());
  ASSERT_TRUE(decoder.decode("a\r\n", body));
  EXPECT_TRUE(decoder.in_chunk());
  ASSERT_TRUE(decoder.decode("123456789", body));
  EXPECT_TRUE(decoder.in_chunk());
  ASSERT_TRUE(decoder.decode("0", body));
  EXPECT_FALSE(decoder.in_chunk());
  ASSERT_TRUE(decoder.decode("\r\n0\r\n\r", body));
  EXPECT_FALSE(decoder.done());
  ASSERT_TRUE(decoder.decode("\n", body));
  EXPECT_TRUE(decoder.done());
  EXPECT_EQ(decoder.decode("more", body), 0u);
  EXPECT_EQ(body, "1234567890");
}

TEST(Chunk, TakesSizesInAnyCaseAndWithZeros) {
  EXPECT_EQ(run("00A\r\n0123456789\r\n000\r\n\r\n").body, "0123456789");
  EXPECT_EQ(run("a \t;x\r\n0123456789\r\n0 \r\n\r\n").body, "0123456789");
  EXPECT_TRUE(run("0;last\r\n\r\n").done);
}

TEST(Chunk, RefusesWhatCouldBeReadInTwoWays) {
  for (const char* text : {"5\nhello\r\n",   "5\r\nhello\n", "5\r\nhelloX",
                           "5\r\nhello\rX",  "\r\n",         "\n",
                           ";a\r\n",         "-5\r\n",       "+5\r\n",
                           "0x5\r\n",        " 5\r\n",       "5x\r\n",
                           "5\rX",           "5;a\nb\r\n",   "5;a\rb",
                           "5;\x01\r\n",     "0\r\n\n",      "0\r\n\rX",
                           "0\r\nA: b\n",    "0\r\nA: b\rX", "0\r\nA: \x7f\r\n",
                           "0\r\n A: b\r\n", "0\r\n: b\r\n", "0\n"}) {
    const Outcome o = run(text);
    EXPECT_FALSE(o.ok) << text;
    EXPECT_EQ(o.code, Code::kProtocol) << text;
  }
}

TEST(Chunk, RefusesSizesThatOverflow) {
  EXPECT_TRUE(run("10000000000\r\n").ok);
  for (const char* text : {"10000000001\r\n", "ffffffffffffffff\r\n", "10000000000000000\r\n",
                           "100000000000000000000000005\r\n"}) {
    const Outcome o = run(text);
    EXPECT_FALSE(o.ok) << text;
    EXPECT_EQ(o.code, Code::kTooLarge) << text;
  }
}

TEST(Chunk, BoundsLinesExtensionsAndTrailers) {
  EXPECT_EQ(run(std::string(kChunkSizeLineMax + 1, '0')).code, Code::kTooLarge);
  EXPECT_TRUE(run("1;" + std::string(kChunkSizeLineMax - 3, 'x') + "\r\na").ok);
  EXPECT_EQ(run("1;" + std::string(kChunkSizeLineMax, 'x')).code, Code::kTooLarge);

  std::string drip;
  for (int i = 0; i < 100; ++i) drip += "1;" + std::string(200, 'x') + "\r\na\r\n";
  EXPECT_EQ(run(drip).code, Code::kTooLarge);
  EXPECT_FALSE(run(drip).ok);
  EXPECT_TRUE(run(drip.substr(0, 50 * 206)).ok);

  EXPECT_TRUE(run("0\r\nA: " + std::string(kChunkTrailerBytesMax - 7, 'x') + "\r\n\r\n").done);
  EXPECT_EQ(run("0\r\nA: " + std::string(kChunkTrailerBytesMax, 'x')).code, Code::kTooLarge);
}

TEST(Chunk, StaysFailed) {
  ChunkDecoder decoder;
  std::string body;
  const auto first = decoder.decode("1\r\naZ", body);
  ASSERT_FALSE(first);
  EXPECT_EQ(body, "a");
  const auto second = decoder.decode("5\r\nhello\r\n", body);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().detail, first.error().detail);
  EXPECT_FALSE(decoder.decode("", body));
  EXPECT_EQ(body, "a");
  EXPECT_FALSE(decoder.done());
}

TEST(Chunk, WritesWhatItReads) {
  std::string text;
  append_chunk(text, std::string(31, 'x'));
  append_chunk(text, "");
  append_chunk_size(text, 3);
  text += "abc";
  text += kChunkEnd;
  text += kLastChunk;
  EXPECT_EQ(text, "1f\r\n" + std::string(31, 'x') + "\r\n3\r\nabc\r\n0\r\n\r\n");
  const Outcome o = run(text);
  EXPECT_TRUE(o.done);
  EXPECT_EQ(o.body, std::string(31, 'x') + "abc");
}

TEST(Chunk, DecodesTheSameHoweverItIsSplit) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    std::string body, text;
    for (std::uint64_t left = random.below(6); left > 0; --left) {
      std::string part(1 + random.below(40), '\0');
      for (char& c : part) c = "\r\n0a;\0x"[random.below(7)];
      body += part;
      append_chunk(text, part);
      if (random.chance(0.2)) text.insert(text.size() - part.size() - 4, ";e=\"1\"");
    }
    text += random.chance(0.5) ? "0\r\n\r\n" : "0\r\nA: b\r\nC: d\r\n\r\n";
    const std::size_t size = text.size();
    text += "next";
    const bool is_broken = random.chance(0.3);
    if (is_broken) text[random.below(size)] = static_cast<char>(random.below(256));

    const Outcome whole = run(text);
    if (!is_broken) {
      EXPECT_TRUE(whole.done);
      EXPECT_EQ(whole.body, body);
      EXPECT_EQ(whole.used, size);
    }
    for (int i = 0; i < 4; ++i) {
      const Outcome parts = run(text, [&] { return i == 0 ? 1 : 1 + random.below(9); });
      EXPECT_EQ(parts.ok, whole.ok);
      EXPECT_EQ(parts.body, whole.body);
      EXPECT_EQ(parts.done, whole.done);
      if (whole.ok) EXPECT_EQ(parts.used, whole.used);
      if (!whole.ok) EXPECT_EQ(parts.code, whole.code);
    }
  }
}

}  // namespace
}  // namespace hf::wire
