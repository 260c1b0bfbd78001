#include "cli/version.hpp"

namespace hf::cli {
const char* version() {
  return HF_VERSION;
}
const char* commit() {
  return HF_COMMIT;
}
}  // namespace hf::cli
