// What this binary is.
#pragma once

namespace hf::cli {
const char* version();  // "0.1.0"
const char* commit();   // 12 hex digits, or "unknown"
}  // namespace hf::cli
