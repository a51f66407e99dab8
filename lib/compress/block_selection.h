#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "compress/score_key.h"

namespace cupel {

/// Which weights of a block of columns go: the lowest by |weight| * importance; of equal ones the one that
/// comes later, row by row. On the CPU. Tiles of rows are scored and masked on any thread while a sweep
/// has them in its cache; choose() looks at all of them in between.
class BlockSelection {
 public:
  /// For blocks of up to `columns` columns; `tile` rows are scored together.
  BlockSelection(int64_t rows, int64_t columns, int64_t tile, std::string name);

  /// A new block with so many columns.
  void begin(int64_t columns) { columns_ = columns; }
  /// Scores a tile, the rows [row, last). `keep` is undefined, or false for what went before: it is the
  /// first to go. weight and keep [out, columns], importance float32 [columns].
  void score(const torch::Tensor& weight, const torch::Tensor& importance,
             const torch::Tensor& keep, int64_t row, int64_t last);
  /// Finds what goes when every tile is scored. NumericalError where a score is NaN.
  void choose(int64_t count);
  /// What stays of rows [row, last) in mask [out, columns]; nothing that went before comes back.
  void write(const torch::Tensor& mask, int64_t row, int64_t last) const;

 private:
  int64_t rows_, tile_, columns_ = 0;
  std::string name_;
  std::vector<float> scores_;        // [rows, columns_]
  std::vector<uint32_t> histogram_;  // of each tile
  std::vector<uint8_t> bad_;         // whether a tile has a NaN
  Threshold last_;
  bool any_ = false;             // whether anything goes
  std::vector<int64_t> spared_;  // where scores equal to the last to go stay
};

}  // namespace cupel
