// Which method and path does what: an exact allow-list. What is not in it does not exist, so no
// admin call of an engine can be reached, whatever a path looks like.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "core/types.hpp"
#include "engine/relayed_request.hpp"

namespace hf::frontend {

/// How a started event stream of an endpoint tells an error, and what its last event is.
enum class StreamForm : std::uint8_t {
  kOpenAi,     // data: {"error":…}; any clean end is whole
  kResponses,  // event: response.failed; ends in response.completed, .incomplete, .failed or error
  kMessages,   // event: error; ends in message_stop or error
};

/// When a call may be sent again before its first byte was answered.
enum class Repeat : std::uint8_t { kAlways, kUnlessBackground };

/// An endpoint whose answer goes on as it comes. All are POST.
struct Route {
  std::string_view path;
  std::string_view what;  // for the docs
  engine::BodyForm body = engine::BodyForm::kJson;
  Repeat repeat = Repeat::kAlways;
  StreamForm form = StreamForm::kOpenAi;
};

/// Every endpoint that can be relayed, in the order of the docs.
std::span<const Route> relayed_routes();

/// What a request line asks for.
struct Destination {
  enum class Kind : std::uint8_t {
    kGenerate,     // endpoint
    kRelay,        // route
    kModels,       // GET (or HEAD) /v1/models
    kModel,        // GET (or HEAD) /v1/models/NAME: model
    kWrongMethod,  // allow
    kUnknown,
  };
  Kind kind = Kind::kUnknown;
  core::Endpoint endpoint = core::Endpoint::kChat;
  const Route* route = nullptr;
  std::string model;
  std::string_view allow;  // for Allow, also of those that exist
};

class RouteTable {
 public:
  /// All of relayed_routes().
  RouteTable();
  /// Only these of them (`proxy.paths`), or `all`; kBadInput names one that is none of them.
  static Result<RouteTable> of(std::span<const std::string> paths);

  /// `path` as it was sent, without query: it is compared byte by byte, nothing is decoded but the
  /// name behind /v1/models/, which never reaches an engine.
  Destination find(std::string_view method, std::string_view path) const;
  /// "POST /v1/chat/completions, …", for the message of a 404.
  const std::string& listing() const { return listing_; }

 private:
  std::vector<const Route*> routes_;
  std::string listing_;
  void list();
};

/// The table of docs/endpoints.md as Markdown, generated from the routes.
std::string route_table();

}  // namespace hf::frontend
