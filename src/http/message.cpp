#include "http/message.hpp"

#include <charconv>
#include <ctime>

namespace hf::http {
namespace {

void append_number(std::string& out, std::uint64_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, end);
}

/// "Sun, 06 Nov 1994 08:49:37 GMT", made once a second and thread.
std::string_view http_date() {
  static thread_local std::time_t made_at = -1;
  static thread_local char text[64];
  static thread_local std::size_t size = 0;
  const std::time_t now = std::time(nullptr);
  if (now != made_at) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    // The names of days and months are English in the "C" locale, which this process never leaves.
    size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    made_at = now;
  }
  return {text, size};
}

void append_fields(std::string& out, const wire::Headers& headers) {
  for (const auto& field : headers) {
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
}

}  // namespace

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return "";
  }
}

void append_response_head(std::string& out, int status, const wire::Headers& headers,
                          HeadOptions options) {
  out.append("HTTP/1.1 ");
  append_number(out, static_cast<std::uint64_t>(status));
  out.append(" ").append(reason_phrase(status)).append("\r\ndate: ").append(http_date());
  out.append("\r\n");
  append_fields(out, headers);
  if (options.framing == Framing::kChunked) {
    out.append("transfer-encoding: chunked\r\n");
  } else if (options.framing == Framing::kLength && status != 204 && status >= 200) {
    out.append("content-length: ");
    append_number(out, options.length);
    out.append("\r\n");
  }
  if (!options.keep_alive || options.framing == Framing::kUntilClose) {
    out.append("connection: close\r\n");
  }
  out.append("\r\n");
}

void append_response(std::string& out, const Response& response, bool keep_alive) {
  HeadOptions options;
  options.length = response.body.size();
  options.keep_alive = keep_alive;
  append_response_head(out, response.status, response.headers, options);
  out.append(response.body);
}

std::string request_head(std::string_view method, std::string_view target, std::string_view host,
                         const wire::Headers& headers, std::size_t body_size) {
  std::string out;
  out.reserve(128 + target.size() + host.size() + 64 * headers.size());
  out.append(method).append(" ").append(target).append(" HTTP/1.1\r\nhost: ").append(host);
  out.append("\r\n");
  append_fields(out, headers);
  if (body_size > 0 || method == "POST") {
    out.append("content-length: ");
    append_number(out, body_size);
    out.append("\r\n");
  }
  out.append("\r\n");
  return out;
}

BodyDecoder::BodyDecoder(const wire::RequestHead& head) {
  framing_ = head.chunked ? Framing::kChunked : Framing::kLength;
  left_ = head.content_length.value_or(0);
}

BodyDecoder::BodyDecoder(const wire::ResponseHead& head, bool is_head) {
  if (head.bodyless || is_head) return;
  if (head.chunked) {
    framing_ = Framing::kChunked;
  } else if (head.content_length) {
    left_ = *head.content_length;
  } else {
    framing_ = Framing::kUntilClose;
  }
}

Result<std::size_t> BodyDecoder::decode(std::string_view in, std::string& out) {
  if (framing_ == Framing::kChunked) return chunks_.decode(in, out);
  std::size_t size = in.size();
  if (framing_ == Framing::kLength) {
    if (left_ < size) size = static_cast<std::size_t>(left_);
    left_ -= size;
  } else if (ended_) {
    return 0;
  }
  out.append(in.substr(0, size));
  return size;
}

bool BodyDecoder::done() const {
  switch (framing_) {
    case Framing::kChunked: return chunks_.done();
    case Framing::kLength: return left_ == 0;
    case Framing::kUntilClose: return ended_;
  }
  return true;
}

Result<void> BodyDecoder::end_of_stream() {
  ended_ = true;
  if (done()) return {};
  return fail(Code::kReset, "the connection ended in the middle of a body", Retry::kOtherWorker);
}

std::optional<std::uint64_t> BodyDecoder::bytes_left() const {
  if (framing_ == Framing::kLength) return left_;
  return std::nullopt;
}

}  // namespace hf::http
