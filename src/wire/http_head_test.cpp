#include "wire/http_head.hpp"

#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "base/random.hpp"

namespace hf::wire {
namespace {

constexpr std::size_t kMax = 64 * 1024;

Parsed<RequestHead> request(std::string_view text) {
  auto r = parse_request_head(text, kMax);
  EXPECT_TRUE(r) << (r ? "" : r.error().detail) << "\n" << text;
  EXPECT_TRUE(r && *r) << "not whole: " << text;
  return r && *r ? **r : Parsed<RequestHead>{};
}

Parsed<ResponseHead> response(std::string_view text) {
  auto r = parse_response_head(text, kMax);
  EXPECT_TRUE(r) << (r ? "" : r.error().detail) << "\n" << text;
  EXPECT_TRUE(r && *r) << "not whole: " << text;
  return r && *r ? **r : Parsed<ResponseHead>{};
}

Error request_error(std::string_view text, std::size_t bytes_max = kMax) {
  const auto r = parse_request_head(text, bytes_max);
  EXPECT_FALSE(r) << "accepted: " << text;
  return r ? Error{} : r.error();
}

Error response_error(std::string_view text) {
  const auto r = parse_response_head(text, kMax);
  EXPECT_FALSE(r) << "accepted: " << text;
  return r ? Error{} : r.error();
}

TEST(HttpHead, ReadsARequest) {
  const std::string head =
      "POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: h:8000\r\nContent-Length: 17\r\n"
      "X-Empty:\r\nx-two: 1\r\nX-TWO:  2 \t\r\n\r\n";
  const auto p = request(head + "{\"model\":\"m\"}body");
  EXPECT_EQ(p.size, head.size());
  EXPECT_EQ(p.head.method, "POST");
  EXPECT_EQ(p.head.target, "/v1/chat/completions?a=b");
  EXPECT_EQ(p.head.path(), "/v1/chat/completions");
  EXPECT_EQ(p.head.query(), "a=b");
  EXPECT_EQ(p.head.version_minor, 1);
  EXPECT_EQ(p.head.content_length, 17u);
  EXPECT_TRUE(p.head.has_body());
  EXPECT_FALSE(p.head.chunked);
  EXPECT_TRUE(p.head.keep_alive);
  EXPECT_FALSE(p.head.expects_continue);
  ASSERT_EQ(p.head.headers.size(), 5u);
  EXPECT_EQ(p.head.headers.find("HOST"), "h:8000");
  EXPECT_EQ(p.head.headers.find("x-empty"), "");
  EXPECT_EQ(p.head.headers.find("x-two"), "1");
  EXPECT_EQ(p.head.headers.count("x-two"), 2u);
  EXPECT_EQ(p.head.headers.all()[4].value, "2");
  EXPECT_EQ(p.head.headers.find("absent"), std::nullopt);
}

TEST(HttpHead, TellsChunkedExpectAndClose) {
  const auto p = request(
      "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n"
      "Connection: x, Close\r\n\r\n");
  EXPECT_TRUE(p.head.chunked);
  EXPECT_FALSE(p.head.content_length);
  EXPECT_TRUE(p.head.expects_continue);
  EXPECT_FALSE(p.head.keep_alive);
}

TEST(HttpHead, NeverKeepsHttp10Alive) {
  const auto p =
      request("GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(p.head.version_minor, 0);
  EXPECT_FALSE(p.head.keep_alive);
  EXPECT_FALSE(p.head.expects_continue);
  EXPECT_FALSE(response("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n")
                   .head.keep_alive);
}

TEST(HttpHead, SkipsOneEmptyLineBeforeARequest) {
  const std::string head = "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
  EXPECT_EQ(request(head).size, head.size());
  request_error("\r\n" + head);
  EXPECT_FALSE(*parse_request_head("\r", kMax));
  EXPECT_FALSE(*parse_request_head("\r\n", kMax));
}

struct Refusal {
  const char* text;
  const char* detail;
};

TEST(HttpHead, RefusesWhatCouldBeReadInTwoWays) {
  const std::vector<Refusal> cases = {
      {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding"},
      {"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "Content-Length"},
      {"Transfer-Encoding: gzip\r\nContent-Length: 5\r\n", "both"},
      {"Content-Length: 5\r\nContent-Length: 5\r\n", "several Content-Length"},
      {"Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length"},
      {"Content-Length: 5, 5\r\n", "Content-Length"},
      {"Content-Length: +5\r\n", "Content-Length"},
      {"Content-Length: -5\r\n", "Content-Length"},
      {"Content-Length: 5x\r\n", "Content-Length"},
      {"Content-Length: 0x5\r\n", "Content-Length"},
      {"Content-Length: 5 5\r\n", "Content-Length"},
      {"Content-Length:\r\n", "Content-Length"},
      {"Content-Length: 18446744073709551616\r\n", "Content-Length"},
      {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding"},
      {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "Transfer-Encoding"},
      {"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "several Transfer-Encoding"},
      {"Transfer-Encoding: gzip, chunked\r\n", "gzip, chunked"},
      {"Transfer-Encoding: chunked, identity\r\n", "chunked, identity"},
      {"Transfer-Encoding: chunked;q=1\r\n", "Transfer-Encoding"},
      {"Transfer-Encoding: identity\r\n", "identity"},
      {"Transfer-Encoding: xchunked\r\n", "xchunked"},
      {"Transfer-Encoding:\r\n", "Transfer-Encoding"},
      {"Transfer-Encoding : chunked\r\n", "field"},
      {"Content-Length : 5\r\n", "field"},
      {"X-A: 1\r\n 2\r\n", "obs-fold"},
      {"X-A: 1\r\n\t2\r\n", "obs-fold"},
      {" X-A: 1\r\n", "obs-fold"},
      {"X-A: 1\n", "bare LF"},
      {"X-A: 1\rX-B: 2\r\n", "line ending"},
      {"X-A: a\x01z\r\n", "value"},
      {"X-A: a\x7fz\r\n", "value"},
      {"X\x01-A: a\r\n", "field"},
      {"X(A): a\r\n", "field"},
      {"\xc3\xa9: a\r\n", "field"},
      {": a\r\n", "field"},
      {"no-colon\r\n", "field"},
  };
  for (const Refusal& c : cases) {
    const std::string fields = std::string(c.text) + "\r\n";
    const Error q = request_error("POST / HTTP/1.1\r\nHost: h\r\n" + fields);
    EXPECT_EQ(q.code, Code::kBadInput) << c.text;
    EXPECT_NE(q.detail.find(c.detail), std::string::npos) << c.text << " → " << q.detail;
    const Error s = response_error("HTTP/1.1 200 OK\r\nServer: h\r\n" + fields);
    EXPECT_EQ(s.code, Code::kProtocol) << c.text;
    EXPECT_NE(s.detail.find(c.detail), std::string::npos) << c.text << " → " << s.detail;
  }
}

TEST(HttpHead, RefusesNulInAValue) {
  const std::string fields("X-A: a\0z\r\n\r\n", 12);
  EXPECT_EQ(request_error("GET / HTTP/1.1\r\nHost: h\r\n" + fields).code, Code::kBadInput);
  EXPECT_EQ(response_error("HTTP/1.1 200 OK\r\n" + fields).code, Code::kProtocol);
}

TEST(HttpHead, RefusesEncodedBodiesOnHttp10) {
  request_error("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
  response_error("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST(HttpHead, RefusesRequestLinesThatAreNone) {
  const std::vector<std::string> lines = {"GET /",
                                          "GET / HTTP/1.2",
                                          "GET / HTTP/2.0",
                                          "GET / HTTP/0.9",
                                          "GET / http/1.1",
                                          "GET  / HTTP/1.1",
                                          "GET / HTTP/1.1 ",
                                          "GET /a b HTTP/1.1",
                                          "G@T / HTTP/1.1",
                                          "GET\t/ HTTP/1.1",
                                          " GET / HTTP/1.1",
                                          "CONNECT h:443 HTTP/1.1",
                                          "GET /\x01 HTTP/1.1"};
  for (const std::string& line : lines) {
    EXPECT_EQ(request_error(line + "\r\nHost: h\r\n\r\n").code, Code::kBadInput) << line;
  }
}

TEST(HttpHead, TellsAtOnceThatTheBytesAreNotHttp) {
  request_error("\x16\x03\x01");
  request_error("GET / HTTP/1.1\n");
  request_error("GET / HTTP/1.1\r\n folded");
}

TEST(HttpHead, WantsExactlyOneHost) {
  EXPECT_EQ(request_error("GET / HTTP/1.1\r\n\r\n").detail, "no Host field");
  EXPECT_EQ(request_error("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n").detail,
            "several Host fields");
  request("GET / HTTP/1.0\r\n\r\n");
}

TEST(HttpHead, KeepsTargetsThatMakeSense) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/", "/"},
      {"/a/..b/...%41?x=../y", "/a/..b/...%41"},
      {"//two", "//two"},
      {"http://h/v1/models?x", "/v1/models"},
      {"HTTP://h:80", "/"},
      {"https://h?x=1", "/"},
      {"/a|b{c}^`", "/a|b{c}^`"},
  };
  for (const auto& [target, path] : cases) {
    const auto p = request("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_EQ(p.head.target, target);
    EXPECT_EQ(p.head.path(), path);
  }
  EXPECT_EQ(request("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").head.path(), "*");
}

TEST(HttpHead, RefusesTargetsThatHideAPath) {
  for (const char* target :
       {"/..",     "/a/../b",       "/a/./b",    "/a/.",      "/%2e%2E/x", "/.%2e",
        "/a/%2E",  "http://h/../x", "*",         "v1/models", "?x",        "h:443",
        "http://", "http:///x",     "ftp://h/x", "/a\\b",     "/a#b",      "/%",
        "/%4",     "/%zz",          "/\xc3\xa9", "/\"",       "/<x>"}) {
    EXPECT_EQ(request_error(std::string("GET ") + target + " HTTP/1.1\r\nHost: h\r\n\r\n").code,
              Code::kBadInput)
        << target;
  }
}

TEST(HttpHead, BoundsBytesAndFields) {
  const std::string head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  EXPECT_TRUE(*parse_request_head(head, head.size()));
  EXPECT_EQ(request_error(head, head.size() - 1).code, Code::kTooLarge);
  EXPECT_EQ(request_error(head.substr(0, 20), 20).code, Code::kTooLarge);
  EXPECT_FALSE(*parse_request_head(head.substr(0, 20), 21));

  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (std::size_t i = 1; i < kHeaderFieldsMax; ++i) many += "a: b\r\n";
  EXPECT_EQ(request(many + "\r\n").head.headers.size(), kHeaderFieldsMax);
  EXPECT_EQ(request_error(many + "a: b\r\n\r\n").code, Code::kTooLarge);

  // Beast's own default would refuse this one.
  const std::string big =
      "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(60'000, 'x') + "\r\n\r\n";
  EXPECT_EQ(request(big).head.headers.find("x")->size(), 60'000u);
  request("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000000\r\n\r\n");
}

TEST(HttpHead, ReadsResponses) {
  // vLLM's and llama.cpp's own heads, as recorded.
  const auto vllm = response(
      "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 02:33:12 GMT\r\nserver: uvicorn\r\n"
      "content-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\nconnection: close\r\n"
      "transfer-encoding: chunked\r\n\r\n");
  EXPECT_EQ(vllm.head.status, 200);
  EXPECT_EQ(vllm.head.reason, "OK");
  EXPECT_TRUE(vllm.head.chunked);
  EXPECT_FALSE(vllm.head.keep_alive);
  EXPECT_FALSE(vllm.head.body_until_close());
  const auto llama = response(
      "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n"
      "Content-Type: application/json; charset=utf-8\r\nContent-Length: 12\r\n"
      "Keep-Alive: timeout=5, max=100\r\n\r\n");
  EXPECT_EQ(llama.head.content_length, 12u);
  EXPECT_EQ(llama.head.headers.find("access-control-allow-origin"), "");
  EXPECT_TRUE(llama.head.keep_alive);
}

TEST(HttpHead, TellsHowAResponseEnds) {
  const auto until_close = response("HTTP/1.1 200 \r\nServer: x\r\n\r\n").head;
  EXPECT_EQ(until_close.reason, "");
  EXPECT_TRUE(until_close.body_until_close());
  EXPECT_FALSE(until_close.keep_alive);

  for (const char* status : {"100", "103", "204", "304"}) {
    const auto p = response(std::string("HTTP/1.1 ") + status + " X\r\n\r\n").head;
    EXPECT_TRUE(p.bodyless) << status;
    EXPECT_TRUE(p.keep_alive) << status;
    EXPECT_FALSE(p.body_until_close()) << status;
    EXPECT_EQ(p.is_interim(), status[0] == '1');
  }
  EXPECT_TRUE(response("HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n").head.keep_alive);
  EXPECT_FALSE(response("HTTP/1.1 204 X\r\nContent-Length: 9\r\n\r\n").head.keep_alive);
  EXPECT_FALSE(response("HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n").head.keep_alive);
}

TEST(HttpHead, RefusesStatusLinesThatAreNone) {
  for (const char* line :
       {"HTTP/1.1 099 X", "HTTP/1.1 600 X", "HTTP/1.1 20 X", "HTTP/1.1 2000 X", "HTTP/1.2 200 OK",
        "HTTP/2.0 200 OK", "HTTP/1.1  200 OK", "200 OK", "HTTP/1.1 200 O\x01K", "ICY 200 OK", ""}) {
    EXPECT_EQ(response_error(std::string(line) + "\r\nServer: h\r\n\r\n").code, Code::kProtocol)
        << line;
  }
}

TEST(HttpHead, HeadersCanBeEdited) {
  Headers h;
  h.append("A", "1");
  h.append("b", "2");
  h.append("a", "3");
  EXPECT_EQ(h.erase("A"), 2u);
  EXPECT_EQ(h.erase("A"), 0u);
  h.set("B", "4");
  h.set("c", "5");
  ASSERT_EQ(h.size(), 2u);
  EXPECT_EQ(h.find("b"), "4");
  EXPECT_EQ(h.all()[1].name, "c");
}

// What a random head is made of: mostly right, sometimes not.
std::string random_head(Random& random, bool is_request) {
  static const std::vector<std::string> kRequestLines = {
      "GET / HTTP/1.1\r\n",     "POST /v1/completions HTTP/1.1\r\n",
      "GET /../x HTTP/1.1\r\n", "GET / HTTP/1.0\r\n",
      "\r\nGET / HTTP/1.1\r\n", "GET /\n"};
  static const std::vector<std::string> kStatusLines = {"HTTP/1.1 200 OK\r\n",
                                                        "HTTP/1.1 503 No\r\n", "HTTP/1.0 204 \r\n",
                                                        "HTTP/1.1 100 C\r\n", "HTTP/3 200 OK\r\n"};
  static const std::vector<std::string> kFields = {"Host: h\r\n",
                                                   "Content-Length: 7\r\n",
                                                   "Transfer-Encoding: chunked\r\n",
                                                   "x-a: b c\r\n",
                                                   "X-A:\t\r\n",
                                                   "Connection: close\r\n",
                                                   "Expect: 100-continue\r\n",
                                                   " fold\r\n",
                                                   "bad\r\n",
                                                   "x: y\n"};
  const auto& lines = is_request ? kRequestLines : kStatusLines;
  std::string out = lines[random.below(random.chance(0.8) ? 2 : lines.size())];
  if (random.chance(0.9)) out += kFields[0];
  const std::uint64_t fields = random.below(5);
  for (std::uint64_t i = 0; i < fields; ++i) {
    out += kFields[1 + random.below(random.chance(0.9) ? 6 : kFields.size() - 1)];
  }
  out += "\r\n";
  if (random.chance(0.5)) out += "body\r\n\r\n";
  return out;
}

template <class Parse>
void check_prefixes(const std::string& text, Parse parse) {
  const auto whole = parse(text);
  for (std::size_t n = 0; n <= text.size(); ++n) {
    const auto part = parse(std::string(text, 0, n));  // a copy: reads past its end are found
    if (!part) {
      // An error told early is the error told late.
      ASSERT_FALSE(whole) << text;
      EXPECT_EQ(part.error().code, whole.error().code);
    } else if (*part) {
      ASSERT_TRUE(whole && *whole) << text;
      EXPECT_EQ((*part)->size, (*whole)->size);
      EXPECT_LE((*part)->size, n);
      EXPECT_EQ((*part)->head.headers.size(), (*whole)->head.headers.size());
      EXPECT_EQ((*part)->head.content_length, (*whole)->head.content_length);
    } else {
      EXPECT_TRUE(!whole || !*whole || n < (*whole)->size) << text;
    }
  }
}

TEST(HttpHead, EveryPrefixAgreesWithTheWhole) {
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const bool is_request = random.chance(0.5);
    const std::string text = random_head(random, is_request);
    const std::size_t max = random.chance(0.2) ? 10 + random.below(60) : kMax;
    if (is_request) {
      check_prefixes(text, [&](std::string_view t) { return parse_request_head(t, max); });
    } else {
      check_prefixes(text, [&](std::string_view t) { return parse_response_head(t, max); });
    }
  }
}

}  // namespace
}  // namespace hf::wire
