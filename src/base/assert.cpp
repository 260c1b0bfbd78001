#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace hf {

void assert_failed(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "holdfast: assertion failed: %s (%s:%d). Please report this.\n", expression,
               file, line);
  std::abort();
}

}  // namespace hf
