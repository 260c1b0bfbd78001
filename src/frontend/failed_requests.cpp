#include "frontend/failed_requests.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

namespace hf::frontend {

void FailedRequests::add(FailedRequest request) {
  const std::lock_guard lock(mutex_);
  requests_.push_back(std::move(request));
  if (requests_.size() > kKept) requests_.pop_front();
}

std::optional<FailedRequest> FailedRequests::find(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  const auto backwards = std::views::reverse(requests_);
  const auto found = std::ranges::find(backwards, id, &FailedRequest::id);
  if (found == backwards.end()) return std::nullopt;
  return *found;
}

}  // namespace hf::frontend
