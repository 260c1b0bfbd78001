// HF_ASSERT: the impossible. On in release too; says where and ends the process.
#pragma once

namespace hf {
[[noreturn]] void assert_failed(const char* expression, const char* file, int line);
}  // namespace hf

#define HF_ASSERT(expr) ((expr) ? void(0) : ::hf::assert_failed(#expr, __FILE__, __LINE__))
