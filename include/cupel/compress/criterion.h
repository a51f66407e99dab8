#pragma once

#include <torch/types.h>

#include <functional>
#include <string>

#include "cupel/calibration/input_stats.h"
#include "cupel/compress/pattern.h"
#include "cupel/core/registry.h"

namespace cupel {

/// How much each weight matters: a value that holds a function, so a lambda is enough.
///
///   cupel::Criterion wanda{"wanda", cupel::Needs::sq_norm,
///       [](const torch::Tensor& weight, const cupel::InputStats& in) {
///         return weight.abs() * in.sq_norm().sqrt();
///       }};
struct Criterion {
  std::string name;
  Needs needs = Needs::none;
  /// weight float32 [out, in], stats of its inputs -> scores [out, in], larger = keep.
  std::function<torch::Tensor(const torch::Tensor& weight, const InputStats& stats)> score;
  /// The comparison group that `unstructured` means for this criterion.
  Scope scope = Scope::row;
  /// Where every score is |W_ij| times a factor of its column: those factors, [in] float32, which
  /// spare a matrix of scores. Must agree with `score`; may be empty.
  std::function<torch::Tensor(const InputStats& stats)> column_factor = {};
};

/// All criteria by name; add yours here.
Registry<Criterion>& criteria();

#define CUPEL_CRITERION(function) Criterion function();
#include "cupel/compress/criteria.def"
#undef CUPEL_CRITERION

}  // namespace cupel
