// THE table of settings of `holdfast serve`: add a key here and nowhere else.
//
// A new key is one line in keys.cpp, bound to a field of frontend::ServeOptions. Its flag, its
// variable, its place in the file, `config check`, reload and docs/configuration.md follow.
#pragma once

#include <string>
#include <vector>

#include "config/field.hpp"
#include "frontend/options.hpp"

namespace hf::config {

/// In the order of the document. Built once.
const std::vector<Field<frontend::ServeOptions>>& serve_keys();
/// Of `models.NAME`; file only.
const std::vector<Field<frontend::ModelOptions>>& model_keys();
/// Of an entry of `engines` that is a map.
const std::vector<Field<frontend::EngineOptions>>& engine_keys();

/// The table of docs/configuration.md, in Markdown.
std::string document();

}  // namespace hf::config
