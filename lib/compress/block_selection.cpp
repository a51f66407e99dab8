#include "compress/block_selection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "compress/prune_rows.h"
#include "compress/select_lowest.h"
#include "core/clones.h"
#include "cupel/core/check.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

// Finer bins than select_lowest has: what lies in the bin of the threshold is sorted out on one thread.
constexpr int kBinBits = 13;
constexpr int64_t kBins = 1 << kBinBits;
constexpr int kShift = 32 - kBinBits;

// What went before has this score, and no other weight has.
constexpr float kSpent = -std::numeric_limits<float>::infinity();

// |weight| * importance. Returns whether one is NaN.
CUPEL_CLONES
bool score_row(const float* weight, const float* importance, float* score, int64_t size) {
  int32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) {
    score[i] = std::abs(weight[i]) * importance[i];
    bad |= score[i] != score[i];
  }
  return bad != 0;
}

CUPEL_CLONES
void spend_row(const bool* keep, float* score, int64_t size) {
  for (int64_t i = 0; i < size; ++i) score[i] = keep[i] ? score[i] : kSpent;
}

CUPEL_CLONES
void mask_row(const float* score, uint32_t last, bool* mask, int64_t size) {
  for (int64_t i = 0; i < size; ++i) mask[i] = key_of(score[i]) > last;
}

}  // namespace

BlockSelection::BlockSelection(int64_t rows, int64_t columns, int64_t tile, std::string name)
    : rows_(rows),
      tile_(tile),
      name_(std::move(name)),
      scores_(rows * columns),
      histogram_((rows + tile - 1) / tile * kBins),
      bad_((rows + tile - 1) / tile) {}

void BlockSelection::score(const torch::Tensor& weight, const torch::Tensor& importance,
                           const torch::Tensor& keep, int64_t row, int64_t last) {
  const int64_t columns = columns_, tile = row / tile_;
  const float* factor = importance.const_data_ptr<float>();
  uint32_t* bins = histogram_.data() + tile * kBins;
  std::fill(bins, bins + kBins, 0);
  bool bad = false;
  for (int64_t r = row; r < last; ++r) {
    float* score = scores_.data() + r * columns;
    bad |= score_row(weight.const_data_ptr<float>() + r * weight.stride(0), factor, score, columns);
    if (keep.defined()) {
      spend_row(keep.const_data_ptr<bool>() + r * keep.stride(0), score, columns);
    }
    for (int64_t i = 0; i < columns; ++i) ++bins[key_of(score[i]) >> kShift];
  }
  bad_[tile] = bad;
}

void BlockSelection::choose(int64_t count) {
  const int64_t tiles = static_cast<int64_t>(bad_.size());
  const int64_t size = rows_ * columns_;
  check(count >= 0 && count <= size, "keep_mask", "a block of ", size,
        " weights can lose 0 to all of them. Got ", count, name_.empty() ? "" : " in ", name_, ".");
  for (int64_t tile = 0; tile < tiles; ++tile) {
    if (!bad_[tile]) continue;
    const int64_t nan = find_nan(scores_.data(), size);
    if (nan >= 0) refuse_nan_score(nan / columns_, nan % columns_, name_);
  }
  spared_.clear();
  any_ = count > 0;
  if (!any_) return;
  std::vector<int64_t> histogram(kBins, 0);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    for (int64_t b = 0; b < kBins; ++b) histogram[b] += histogram_[tile * kBins + b];
  }
  const Bin bin = find_bin(histogram.data(), count - 1);
  std::vector<int64_t> places(tiles);
  int64_t in_bin = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    places[tile] = in_bin;
    in_bin += histogram_[tile * kBins + bin.number];
  }
  std::vector<uint32_t> keys(in_bin);
  parallel_for(rows_, tile_, [&](int64_t row, int64_t last) {
    // Every key is written, and the next one over it unless it is in the bin: no branch to guess.
    const int64_t most = (last - row) * columns_;
    const auto found = std::make_unique_for_overwrite<uint32_t[]>(most + 1);
    uint32_t* next = found.get();
    const float* score = scores_.data() + row * columns_;
    for (int64_t i = 0; i < most; ++i) {
      const uint32_t key = key_of(score[i]);
      *next = key;
      next += (key >> kShift) == bin.number;
    }
    std::copy(found.get(), next, keys.data() + places[row / tile_]);
  });
  last_ = threshold_of(keys, count - 1 - bin.below, kBinBits);
  last_.below += bin.below;
  const int64_t stay = last_.equal - (count - last_.below);  // of the equal ones, the first
  for (int64_t i = 0; static_cast<int64_t>(spared_.size()) < stay; ++i) {
    if (key_of(scores_[i]) == last_.key) spared_.push_back(i);
  }
}

void BlockSelection::write(const torch::Tensor& mask, int64_t row, int64_t last) const {
  // Where nothing goes, what went before still does.
  const uint32_t key = any_ ? last_.key : key_of(kSpent);
  bool* first = mask.mutable_data_ptr<bool>();
  for (int64_t r = row; r < last; ++r) {
    mask_row(scores_.data() + r * columns_, key, first + r * mask.stride(0), columns_);
  }
  for (const int64_t i : spared_) {
    const int64_t r = i / columns_;
    if (r >= row && r < last) first[r * mask.stride(0) + i % columns_] = scores_[i] != kSpent;
  }
}

}  // namespace cupel
