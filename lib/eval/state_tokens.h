#pragma once

#include <cstdint>

#include "cupel/eval/token_model.h"

namespace cupel {

/// Tokens whose states fit into `bytes`; 16,384 where the model does not say what one takes.
inline int64_t state_tokens(const TokenModelInfo& info, int64_t bytes) {
  return info.state_bytes > 0 ? bytes / info.state_bytes : int64_t{1} << 14;
}

}  // namespace cupel
