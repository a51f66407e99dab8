#include "model/softmax_rows.h"

#include <cmath>
#include <limits>

#include "model/vector_math.h"

namespace cupel {

CUPEL_CLONES
void softmax_tile(float* scores, int64_t rows, int64_t columns, int64_t ld, const int64_t* seen,
                  float scale, float* largest, float* sum, float* rescale) {
  constexpr int64_t lanes =
      16;  // partial results, so that the order of sums is the same everywhere
  for (int64_t i = 0; i < rows; ++i) {
    float* row = scores + i * ld;
    const int64_t n = seen[i];
    float tops[lanes], sums[lanes];
    for (int64_t k = 0; k < lanes; ++k) tops[k] = largest[i];
    for (int64_t k = 0; k < lanes; ++k) sums[k] = 0;
    int64_t j = 0;
    for (; j + lanes <= n; j += lanes) {
      for (int64_t k = 0; k < lanes; ++k) {
        const float x = row[j + k] * scale;
        row[j + k] = x;
        tops[k] = x > tops[k] ? x : tops[k];
      }
    }
    float top = tops[0];
    for (int64_t k = 1; k < lanes; ++k) top = tops[k] > top ? tops[k] : top;
    for (int64_t k = j; k < n; ++k) {
      row[k] *= scale;
      top = row[k] > top ? row[k] : top;
    }
    j = 0;
    for (; j + lanes <= n; j += lanes) {
      for (int64_t k = 0; k < lanes; ++k) {
        const float e = fast_exp(row[j + k] - top);
        row[j + k] = e;
        sums[k] += e;
      }
    }
    float total = 0;
    for (int64_t k = 0; k < lanes; ++k) total += sums[k];
    for (; j < n; ++j) {
      row[j] = fast_exp(row[j] - top);
      total += row[j];
    }
    for (; j < columns; ++j) row[j] = 0;
    const bool fresh = largest[i] == -std::numeric_limits<float>::infinity();
    rescale[i] = fresh ? 0.0f : std::exp(largest[i] - top);
    sum[i] = (fresh ? 0.0f : sum[i] * rescale[i]) + total;
    largest[i] = top;
  }
}

CUPEL_CLONES
void to_bfloat16(const float* from, uint16_t* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] = bfloat16_bits(from[i]);
  }
}

CUPEL_CLONES
void scale_rows(float* x, int64_t rows, int64_t width, const float* factor) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; ++j) x[i * width + j] *= factor[i];
  }
}

}  // namespace cupel
