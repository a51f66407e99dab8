#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "compress/score_key.h"

namespace cupel {

/// Which weights of a block of columns go: the lowest by |weight| * importance; of equal ones the one that
/// comes later, row by row. On the CPU. Tiles of rows are scored and pruned on any thread while a sweep
/// has them in its cache; choose() looks at all of them in between.
class BlockSelection {
 public:
  /// Tiles are `tile` rows, the last may be short.
  BlockSelection(int64_t rows, int64_t tile, std::string name);

  /// A new block: weight float32 [out, columns], importance float32 [columns], at least 0. `keep` [out,
  /// columns] bool is undefined, or false for what went before and is the first to go.
  void begin(const torch::Tensor& weight, const torch::Tensor& importance,
             const torch::Tensor& keep);
  /// Counts the scores of a tile, the rows [row, last).
  void score(int64_t row, int64_t last);
  /// Finds what goes when every tile is scored. NumericalError where a score is NaN.
  void choose(int64_t count);

  /// Whether equal scores are divided between those that stay and those that go. Else all that are
  /// above threshold() stay, unless they went before.
  bool divides_ties() const { return !spared_.empty(); }
  /// A score as the integer of its bits; scores are in its order.
  int32_t threshold() const;
  /// What stays of rows [row, last) in mask [out, columns], which may be `keep`.
  void write(const torch::Tensor& mask, int64_t row, int64_t last) const;

 private:
  const float* scores_of(int64_t row, std::vector<float>& memory) const;
  void refuse_nan() const;

  int64_t rows_, tile_, columns_ = 0;
  std::string name_;
  torch::Tensor weight_, importance_, keep_;
  std::vector<uint32_t> histogram_;  // of each tile
  std::vector<uint8_t> bad_;         // whether a tile has a NaN
  uint32_t last_ = 0;                // key of the last score to go
  std::vector<int64_t> spared_;      // where scores equal to the last to go stay
};

}  // namespace cupel
