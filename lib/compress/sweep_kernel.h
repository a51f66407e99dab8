#pragma once

#include <cstdint>

namespace cupel {

/// A few rows of one block of a sweep, row-major; every array but `inverse` and `importance` begins
/// at the first of these rows. Rows are independent, so how they are dealt out changes no byte.
struct SweepRows {
  int64_t rows = 0, columns = 0;
  const float* weight = nullptr;  ///< compensated for the blocks before
  int64_t weight_stride = 0;
  const float* original = nullptr;  ///< before the sweep
  int64_t original_stride = 0;
  float* change = nullptr;  ///< out: original - what became of it
  int64_t change_stride = 0;
  const float* inverse = nullptr;   ///< U [columns, columns]
  const float* diagonal = nullptr;  ///< R_ii [columns]
  bool* mask = nullptr;             ///< out: what was kept; null = all of it
  int64_t mask_stride = 0;
  bool mask_given = false;    ///< in: what may be kept; else all of it
  bool by_threshold = false;  ///< only what scores above `threshold` may be kept
  int32_t threshold = 0;      ///< |weight| * importance as the integer of its bits
  int64_t n = 0, m = 0;       ///< n kept of every m columns; 0 = none. Needs a mask.
  bool lower_first = false;
  const float* importance = nullptr;  ///< [columns], with n:m or a threshold
  int64_t bits = 0;                   ///< 0 = no grid
  const float* scales = nullptr;      ///< [rows, all groups]
  const float* zeros = nullptr;
  int64_t scales_stride = 0;
  const int32_t* group_index = nullptr;  ///< [columns]
  uint8_t* codes = nullptr;              ///< out
  int64_t codes_stride = 0;
  double* loss = nullptr;  ///< [rows], sum of e^2 is added
};

/// The kernel in the instructions of one kind of processor.
struct SweepKernel {
  const char* name;
  bool (*supported)();
  void (*run)(const SweepRows& rows);
};

/// All kernels that were compiled, the best last.
extern const SweepKernel sweep_kernels[];
extern const int sweep_kernel_count;

/// The best kernel that this processor can run.
const SweepKernel& sweep_kernel();

}  // namespace cupel
