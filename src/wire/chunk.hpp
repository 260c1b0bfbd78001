// The chunked transfer coding of HTTP/1.1 (RFC 9112 §7.1), both ways.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace hf::wire {

/// Bounds of what a peer may put around the data, for one body.
inline constexpr std::size_t kChunkSizeLineMax = 1024;                  // one size line, bytes
inline constexpr std::size_t kChunkExtensionBytesMax = 16UL * 1024;     // all extensions together
inline constexpr std::size_t kChunkTrailerBytesMax = 8UL * 1024;        // all trailers together
inline constexpr std::uint64_t kChunkSizeMax = std::uint64_t{1} << 40;  // one chunk, bytes

/// Takes the framing off one body, whatever way its bytes are split.
class ChunkDecoder {
 public:
  /// Appends the body bytes in `in` to `out` and returns how many bytes of `in` were used: all of
  /// them, or fewer when the body ended there (then done(); the rest belongs to the next message).
  /// Extensions and trailers are checked and dropped. `out` grows by at most in.size().
  /// Errors: kProtocol for what is no chunked coding (bare LF included), kTooLarge over a bound.
  /// An error is final: every later call returns it again. `out` keeps what came before it.
  Result<std::size_t> decode(std::string_view in, std::string& out);

  /// The last chunk and its trailers were read. An end of the connection before is a cut body.
  bool done() const { return state_ == State::kDone; }
  /// Between a chunk's size line and its last data byte.
  bool in_chunk() const { return state_ == State::kData; }

 private:
  enum class State : std::uint8_t {
    kSizeFirst,  // at the first digit
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerStart,  // at the first byte of a trailer line, or of the blank line that ends all
    kTrailer,
    kTrailerLf,
    kEndLf,
    kDone,
    kFailed,
  };

  bool step(char c);
  bool step_size(char c);
  bool step_trailer(char c);
  bool refuse(Code code, const char* what);

  State state_ = State::kSizeFirst;
  std::uint64_t left_ = 0;  // of the chunk's data
  std::size_t line_bytes_ = 0;
  std::size_t extension_bytes_ = 0;
  std::size_t trailer_bytes_ = 0;
  Code code_ = Code::kProtocol;
  const char* what_ = "";
};

/// Appends `body` as one chunk. An empty body appends nothing: that would end the message.
void append_chunk(std::string& out, std::string_view body);
/// Appends only the size line "1f\r\n" of a chunk of `size` > 0 bytes, for writers that gather:
/// the data and kChunkEnd follow.
void append_chunk_size(std::string& out, std::size_t size);

inline constexpr std::string_view kChunkEnd = "\r\n";
/// Ends a chunked body, without trailers.
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace hf::wire
