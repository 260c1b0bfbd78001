#include "wire/chunk.hpp"

#include <algorithm>
#include <charconv>

namespace hf::wire {

namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Not allowed in extensions and trailers. CR is dealt with before.
bool is_control(char c) {
  const auto u = static_cast<unsigned char>(c);
  return (u < 0x20 && c != '\t') || u == 0x7f;
}

}  // namespace

bool ChunkDecoder::refuse(Code code, const char* what) {
  state_ = State::kFailed;
  code_ = code;
  what_ = what;
  return false;
}

bool ChunkDecoder::step_size(char c) {
  if (++line_bytes_ > kChunkSizeLineMax) return refuse(Code::kTooLarge, "chunk size line too long");
  if (state_ == State::kExtension) {
    if (c == '\r') {
      state_ = State::kSizeLf;
      return true;
    }
    if (is_control(c)) return refuse(Code::kProtocol, "control character in a chunk extension");
    if (++extension_bytes_ > kChunkExtensionBytesMax) {
      return refuse(Code::kTooLarge, "too many bytes of chunk extensions");
    }
    return true;
  }
  const int digit = hex_value(c);
  if (digit >= 0) {
    left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
    if (left_ > kChunkSizeMax) return refuse(Code::kTooLarge, "chunk too large");
    state_ = State::kSize;
    return true;
  }
  if (state_ == State::kSizeFirst) return refuse(Code::kProtocol, "chunk without a size");
  if (c == '\r') {
    state_ = State::kSizeLf;
    return true;
  }
  if (c != ';' && c != ' ' && c != '\t') return refuse(Code::kProtocol, "bad chunk size");
  state_ = State::kExtension;
  ++extension_bytes_;
  return true;
}

bool ChunkDecoder::step_trailer(char c) {
  if (++trailer_bytes_ > kChunkTrailerBytesMax) return refuse(Code::kTooLarge, "trailers too long");
  if (state_ == State::kTrailerLf) {
    if (c != '\n') return refuse(Code::kProtocol, "CR without LF in a trailer");
    state_ = State::kTrailerStart;
    return true;
  }
  if (c == '\r') {
    state_ = state_ == State::kTrailerStart ? State::kEndLf : State::kTrailerLf;
    return true;
  }
  if (is_control(c)) return refuse(Code::kProtocol, "control character in a trailer");
  if (state_ == State::kTrailerStart && (c == ' ' || c == ':')) {
    return refuse(Code::kProtocol, "trailer without a name");
  }
  state_ = State::kTrailer;
  return true;
}

/// One byte of framing; false when it is refused.
bool ChunkDecoder::step(char c) {
  switch (state_) {
    case State::kSizeFirst:
    case State::kSize:
    case State::kExtension: return step_size(c);
    case State::kSizeLf:
      if (c != '\n') return refuse(Code::kProtocol, "CR without LF after a chunk size");
      state_ = left_ > 0 ? State::kData : State::kTrailerStart;
      return true;
    case State::kDataCr:
      if (c != '\r') return refuse(Code::kProtocol, "chunk longer than its size");
      state_ = State::kDataLf;
      return true;
    case State::kDataLf:
      if (c != '\n') return refuse(Code::kProtocol, "CR without LF after a chunk");
      state_ = State::kSizeFirst;
      line_bytes_ = 0;
      return true;
    case State::kTrailerStart:
    case State::kTrailer:
    case State::kTrailerLf: return step_trailer(c);
    case State::kEndLf:
      if (c != '\n') return refuse(Code::kProtocol, "CR without LF at the end of the body");
      state_ = State::kDone;
      return true;
    case State::kData:
    case State::kDone:
    case State::kFailed: break;  // not here: decode() deals with them
  }
  return false;
}

Result<std::size_t> ChunkDecoder::decode(std::string_view in, std::string& out) {
  std::size_t at = 0;
  while (at < in.size() && state_ != State::kDone && state_ != State::kFailed) {
    if (state_ != State::kData) {
      if (!step(in[at])) break;
      ++at;
      continue;
    }
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, in.size() - at));
    out.append(in.data() + at, n);
    at += n;
    left_ -= n;
    if (left_ == 0) state_ = State::kDataCr;
  }
  if (state_ == State::kFailed) return fail(code_, std::string("chunked body: ") + what_);
  return at;
}

void append_chunk_size(std::string& out, std::size_t size) {
  char digits[16];
  const auto end = std::to_chars(digits, digits + sizeof digits, size, 16).ptr;
  out.append(digits, end);
  out += kChunkEnd;
}

void append_chunk(std::string& out, std::string_view body) {
  if (body.empty()) return;
  append_chunk_size(out, body.size());
  out += body;
  out += kChunkEnd;
}

}  // namespace hf::wire
