#pragma once

#include <cstdint>

namespace cupel {

/// One step of an online softmax over a tile of scores (Milakov and Gimelshein, arXiv 1805.02867).
/// Row i of `scores` [rows, ld] has `seen[i]` valid columns of `columns`; they are multiplied by
/// `scale`. On return it holds exp(score - largest[i]), 0 where nothing is seen, and
/// largest[i], sum[i] are those of all tiles so far. `rescale[i]` is what sums of earlier tiles are
/// to be multiplied by. The instruction set is chosen at run time.
void softmax_tile(float* scores, int64_t rows, int64_t columns, int64_t ld, const int64_t* seen,
                  float scale, float* largest, float* sum, float* rescale);

/// to[i] = from[i] rounded to the nearest bfloat16, ties to even; NaN stays NaN.
void to_bfloat16(const float* from, uint16_t* to, int64_t count);

/// x [rows, width] *= factor[row]
void scale_rows(float* x, int64_t rows, int64_t width, const float* factor);

}  // namespace cupel
