#include "frontend/routes.hpp"

#include <algorithm>

namespace hf::frontend {
namespace {

using engine::BodyForm;
using enum StreamForm;

constexpr std::string_view kModelPrefix = "/v1/models/";

constexpr Route kRoutes[] = {
    {"/v1/embeddings", "embeddings"},
    {"/v1/rerank", "rerank"},
    {"/v2/rerank", "rerank"},
    {"/rerank", "rerank"},
    {"/v1/score", "score"},
    {"/score", "score"},
    {"/classify", "classify"},
    {"/pooling", "pooling"},
    {"/v1/moderations", "moderation"},
    {"/tokenize", "token ids of a text or a conversation"},
    {"/detokenize", "text of token ids"},
    {"/apply-template", "llama.cpp: the prompt of a conversation"},
    {"/v1/responses", "OpenAI Responses", BodyForm::kJson, Repeat::kUnlessBackground, kResponses},
    {"/v1/messages", "Anthropic Messages", BodyForm::kJson, Repeat::kAlways, kMessages},
    {"/v1/messages/count_tokens", "Anthropic Messages", BodyForm::kJson, Repeat::kAlways,
     kMessages},
    {"/v1/audio/speech", "text to speech"},
    {"/v1/audio/transcriptions", "speech to text", BodyForm::kMultipart},
    {"/v1/audio/translations", "speech to text", BodyForm::kMultipart},
    {"/v1/images/generations", "text to image"},
    {"/v1/images/edits", "image to image", BodyForm::kMultipart},
    {"/v1/images/variations", "image to image", BodyForm::kMultipart},
};

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::span<const Route> relayed_routes() {
  return kRoutes;
}

RouteTable::RouteTable() {
  for (const auto& route : kRoutes) routes_.push_back(&route);
  list();
}

Result<RouteTable> RouteTable::of(std::span<const std::string> paths) {
  RouteTable table;
  table.routes_.clear();
  for (const auto& path : paths) {
    if (path == "all") return RouteTable();
    const auto* found = std::ranges::find(kRoutes, std::string_view(path), &Route::path);
    if (found == std::end(kRoutes)) {
      return fail(
          Code::kBadInput,
          "'" + path +
              "' is no endpoint that can be passed on; choose `all`, or some of docs/endpoints.md");
    }
    if (std::ranges::find(table.routes_, found) == table.routes_.end()) {
      table.routes_.push_back(found);
    }
  }
  table.list();
  return table;
}

void RouteTable::list() {
  listing_ = "POST /v1/chat/completions, POST /v1/completions, GET /v1/models";
  for (const auto* route : routes_) listing_.append(", POST ").append(route->path);
}

Destination RouteTable::find(std::string_view method, std::string_view path) const {
  Destination to;
  std::string_view wanted = "POST";
  if (path == "/v1/chat/completions" || path == "/v1/completions") {
    to.kind = Destination::Kind::kGenerate;
    to.endpoint = path == "/v1/completions" ? core::Endpoint::kCompletions : core::Endpoint::kChat;
  } else if (path == "/v1/models") {
    to.kind = Destination::Kind::kModels;
    wanted = "GET";
  } else if (path.starts_with(kModelPrefix) && path.size() > kModelPrefix.size()) {
    to.kind = Destination::Kind::kModel;
    to.model = percent_decoded(path.substr(kModelPrefix.size()));
    wanted = "GET";
  } else {
    const auto found = std::ranges::find(routes_, path, &Route::path);
    if (found == routes_.end()) return to;
    to.kind = Destination::Kind::kRelay;
    to.route = *found;
  }
  to.allow = wanted == "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
  if (method != wanted && !(wanted == "GET" && method == "HEAD")) {
    to.kind = Destination::Kind::kWrongMethod;
  }
  return to;
}

std::string route_table() {
  std::string out =
      "| method and path | what | model in | repeatable before the first byte |\n"
      "| --- | --- | --- | --- |\n";
  for (const auto& route : kRoutes) {
    out.append("| `POST ").append(route.path).append("` | ").append(route.what).append(" | ");
    out += route.body == BodyForm::kJson ? "JSON member `model`" : "form part `model`";
    out += route.repeat == Repeat::kAlways ? " | yes |\n" : " | yes, unless `background` |\n";
  }
  return out;
}

}  // namespace hf::frontend
