#pragma once

#include <vector>

#include "cupel/eval/scorer.h"
#include "eval/text_encoder.h"

namespace cupel {

/// Continues `requests`, many at a time. Prompts run in blocks of a fixed number of tokens, each
/// block alone, so that a common beginning can be shared without a byte of difference; tokens are
/// then decoded together by TokenModel::decode(), and a request that ends makes room for the next.
std::vector<Generation> generate_text(TokenModel& model, const TokenModelInfo& info,
                                      const TextEncoder& encoder, const Tokenizer& tokenizer,
                                      const ScorerOptions& options,
                                      const std::vector<GenerationRequest>& requests,
                                      ScorerCounts& counts);

}  // namespace cupel
