#pragma once

#include <ATen/Functions.h>
#include <torch/types.h>

#include <string>

#include "cupel/eval/token_model.h"

namespace cupel::test {

/// Logits that depend on the token before alone: row `id` of `table` [vocabulary, vocabulary].
inline CallableTokenModel table_model(const torch::Tensor& table, int64_t max_length = 16) {
  return CallableTokenModel(
      [table](const torch::Tensor& tokens) {
        return table.index_select(0, tokens[0]).unsqueeze(0);
      },
      {.vocabulary = table.size(0),
       .max_length = max_length,
       .device = "cpu",
       .dtype = "Float",
       .fingerprint = "table"});
}

/// Every token equally likely.
inline CallableTokenModel uniform_model(int64_t vocabulary, int64_t max_length = 16) {
  return table_model(at::zeros({vocabulary, vocabulary}), max_length);
}

}  // namespace cupel::test
