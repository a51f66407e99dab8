// Rows are independent, so a tile holds 16 of them, column after column: one column of a tile is one
// or two vector registers, and a block of 128 columns stays in the first-level cache.
#include <torch/types.h>

#include <algorithm>
#include <vector>

#include "compress/sweep_block.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kTilesAChunk = 4;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
// The instruction set is chosen when the library is loaded.
#define CUPEL_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CUPEL_CLONES
#endif

// tile[j][lane] -= error[lane] * u[j] for the columns that follow.
CUPEL_CLONES void update_columns(float* tile, const float* error, const float* u, int64_t columns) {
  for (int64_t j = 0; j < columns; ++j) {
    float* column = tile + j * kLanes;
    const float factor = u[j];
    for (int64_t lane = 0; lane < kLanes; ++lane) column[lane] -= error[lane] * factor;
  }
}

// Half to even for |x| < 2^22: the sum has no room for a fraction.
inline float round_even(float x) {
  constexpr float shift = 12582912.0f;  // 1.5 * 2^23
  return (x + shift) - shift;
}

CUPEL_CLONES void round_column(const float* value, const float* scale, const float* zero, float top,
                               float* code) {
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    // Beyond +-512 steps the code is at an end of the grid whatever the zero point.
    const float steps = std::min(std::max(value[lane] / scale[lane], -512.0f), 512.0f);
    code[lane] = std::min(std::max(round_even(steps) + zero[lane], 0.0f), top);
  }
}

// The pointers of a task, and one thread's tile.
class Tile {
 public:
  explicit Tile(const BlockTask& task)
      : task_(task),
        rows_(task.weight.size(0)),
        columns_(task.weight.size(1)),
        groups_(task.bits > 0 ? task.scales.size(1) : 0),
        values_(columns_ * kLanes),
        kept_(columns_ * kLanes, 1),
        scales_(groups_ * kLanes, 1.0f),
        zeros_(groups_ * kLanes, 0.0f) {}

  void run(int64_t first_row) {
    lanes_ = std::min(kLanes, rows_ - first_row);
    load(first_row);
    const float* inverse = task_.inverse.const_data_ptr<float>();
    const float* diagonal = task_.diagonal.const_data_ptr<float>();
    double loss[kLanes] = {};
    float error[kLanes] = {};
    for (int64_t i = 0; i < columns_; ++i) {
      if (task_.m > 0 && i % task_.m == 0) choose(i);
      treat(first_row, i, diagonal[i], error, loss);
      update_columns(values_.data() + (i + 1) * kLanes, error, inverse + i * columns_ + i + 1,
                     columns_ - i - 1);
    }
    double* total = task_.loss.mutable_data_ptr<double>() + first_row;
    for (int64_t lane = 0; lane < lanes_; ++lane) total[lane] += loss[lane];
    if (task_.masked) store_mask(first_row);
  }

 private:
  void load(int64_t first_row) {
    const float* weight = task_.weight.const_data_ptr<float>();
    const bool* mask = task_.masked ? task_.mask.const_data_ptr<bool>() : nullptr;
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      const int64_t row = (first_row + lane) * columns_;
      for (int64_t i = 0; i < columns_; ++i) values_[i * kLanes + lane] = weight[row + i];
      if (mask) {
        for (int64_t i = 0; i < columns_; ++i) kept_[i * kLanes + lane] = mask[row + i];
      }
      for (int64_t g = 0; g < groups_; ++g) {
        const int64_t at = (first_row + lane) * groups_ + g;
        scales_[g * kLanes + lane] = task_.scales.const_data_ptr<float>()[at];
        zeros_[g * kLanes + lane] = task_.zeros.const_data_ptr<float>()[at];
      }
    }
  }

  // Prunes m - n of the m columns from `first` on in every lane.
  void choose(int64_t first) {
    const float* importance = task_.importance.const_data_ptr<float>() + first;
    const int64_t m = task_.m;
    scores_.resize(m);
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      for (int64_t k = 0; k < m; ++k) {
        const int64_t at = (first + k) * kLanes + lane;
        scores_[k] = kept_[at] ? std::abs(values_[at]) * importance[k] : -1.0f;
      }
      for (int64_t pruned = 0; pruned < m - task_.n; ++pruned) {
        int64_t worst = -1;
        for (int64_t k = 0; k < m; ++k) {
          if (scores_[k] == kGone) continue;
          const bool lower = worst < 0 || (task_.lower_first ? scores_[k] < scores_[worst]
                                                             : scores_[k] <= scores_[worst]);
          if (lower) worst = k;
        }
        scores_[worst] = kGone;
        kept_[(first + worst) * kLanes + lane] = 0;
      }
    }
  }

  // Column i: what becomes of its weights, and the error that the next columns take up.
  void treat(int64_t first_row, int64_t i, float diagonal, float* error, double* loss) {
    const float* value = values_.data() + i * kLanes;
    const unsigned char* kept = kept_.data() + i * kLanes;
    float result[kLanes];
    if (task_.bits > 0) {
      const int64_t group = task_.group_index.const_data_ptr<int32_t>()[i];
      const float* scale = scales_.data() + group * kLanes;
      const float* zero = zeros_.data() + group * kLanes;
      float code[kLanes];
      round_column(value, scale, zero, static_cast<float>((1 << task_.bits) - 1), code);
      uint8_t* codes = task_.codes.mutable_data_ptr<uint8_t>();
      for (int64_t lane = 0; lane < lanes_; ++lane) {
        const float used = kept[lane] ? code[lane] : zero[lane];
        codes[(first_row + lane) * columns_ + i] = static_cast<uint8_t>(used);
        result[lane] = (used - zero[lane]) * scale[lane];
      }
    } else {
      for (int64_t lane = 0; lane < lanes_; ++lane) result[lane] = kept[lane] ? value[lane] : 0.0f;
    }
    float* out = task_.result.mutable_data_ptr<float>();
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      out[(first_row + lane) * columns_ + i] = result[lane];
      error[lane] = (value[lane] - result[lane]) * diagonal;
      loss[lane] += static_cast<double>(error[lane]) * error[lane];
    }
  }

  void store_mask(int64_t first_row) const {
    bool* mask = task_.mask.mutable_data_ptr<bool>();
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      for (int64_t i = 0; i < columns_; ++i) {
        mask[(first_row + lane) * columns_ + i] = kept_[i * kLanes + lane] != 0;
      }
    }
  }

  static constexpr float kGone = -2.0f;

  const BlockTask& task_;
  int64_t rows_, columns_, groups_, lanes_ = 0;
  std::vector<float> values_;
  std::vector<unsigned char> kept_;
  std::vector<float> scales_, zeros_, scores_;
};

}  // namespace

void sweep_block_cpu(const BlockTask& task) {
  parallel_for(task.weight.size(0), kLanes * kTilesAChunk, [&](int64_t begin, int64_t end) {
    Tile tile(task);
    for (int64_t row = begin; row < end; row += kLanes) tile.run(row);
  });
}

}  // namespace cupel
