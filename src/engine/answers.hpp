// Reading an engine's JSON answers, shared by the questions. Internal to this module.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "core/types.hpp"
#include "wire/json.hpp"

namespace hf::engine {

/// nullopt when the status is 200, else the error that it stands for.
std::optional<Error> status_error(std::string_view what, int status);

Error nonsense(std::string_view what);

/// The raw JSON of a member of an object, reached through keys and array indices ("data", "0",
/// "id"). nullopt when it is not there or the document is malformed before it.
std::optional<std::string_view> find_json(std::string_view document,
                                          std::initializer_list<std::string_view> path);

// The values below are nullopt when absent or of another type.
std::optional<std::string> find_string(std::string_view document,
                                       std::initializer_list<std::string_view> path);
std::optional<std::int64_t> find_int(std::string_view document,
                                     std::initializer_list<std::string_view> path);
std::optional<std::vector<core::TokenId>> find_ids(std::string_view document,
                                                   std::initializer_list<std::string_view> path);

}  // namespace hf::engine
