// What the pages are made of. Internal to this module.
#pragma once

#include <string>
#include <string_view>

#include "chaos/result.hpp"

namespace hf::chaos {

/// Text for HTML, also inside of a quoted attribute.
std::string escaped(std::string_view text);
/// "34.1", "1,204", "0.42": three digits that count, for people.
std::string figure(double value);
/// "34.1 ms", "2.31 s".
std::string duration_text(double ms);

/// What the script draws, as JSON that may stand inside of a script element.
std::string drawing_data(const ChaosResult& result);

std::string_view report_style();
std::string_view report_script();

}  // namespace hf::chaos
