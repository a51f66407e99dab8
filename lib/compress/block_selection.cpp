#include "compress/block_selection.h"

#include <algorithm>
#include <bit>
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

std::vector<float>& row_memory() {
  thread_local std::vector<float> memory;
  return memory;
}

}  // namespace

BlockSelection::BlockSelection(int64_t rows, int64_t tile, std::string name)
    : rows_(rows),
      tile_(tile),
      name_(std::move(name)),
      histogram_((rows + tile - 1) / tile * kBins),
      bad_((rows + tile - 1) / tile) {}

void BlockSelection::begin(const torch::Tensor& weight, const torch::Tensor& importance,
                           const torch::Tensor& keep) {
  weight_ = weight;
  importance_ = importance.contiguous();
  keep_ = keep;
  columns_ = weight.size(1);
}

// Made anew where they are asked for: the weights are in the cache, and scores would only crowd it.
const float* BlockSelection::scores_of(int64_t row, std::vector<float>& memory) const {
  memory.resize(columns_);
  const float* weight = weight_.const_data_ptr<float>() + row * weight_.stride(0);
  const bool bad = score_row(weight, importance_.const_data_ptr<float>(), memory.data(), columns_);
  if (keep_.defined()) {
    spend_row(keep_.const_data_ptr<bool>() + row * keep_.stride(0), memory.data(), columns_);
  }
  return bad ? nullptr : memory.data();
}

void BlockSelection::score(int64_t row, int64_t last) {
  const int64_t tile = row / tile_;
  uint32_t* bins = histogram_.data() + tile * kBins;
  std::fill(bins, bins + kBins, 0);
  auto& memory = row_memory();
  bad_[tile] = false;
  for (int64_t r = row; r < last; ++r) {
    if (!scores_of(r, memory)) bad_[tile] = true;
    for (const float score : memory) ++bins[key_of(score) >> kShift];
  }
}

void BlockSelection::refuse_nan() const {
  std::vector<float> memory;
  for (int64_t row = 0; row < rows_; ++row) {
    if (scores_of(row, memory)) continue;
    const int64_t column = find_nan(memory.data(), columns_);
    if (column >= 0) refuse_nan_score(row, column, name_);
  }
}

void BlockSelection::choose(int64_t count) {
  const auto tiles = static_cast<int64_t>(bad_.size());
  const int64_t size = rows_ * columns_;
  check(count >= 0 && count <= size, "keep_mask", "a block of ", size,
        " weights can lose 0 to all of them. Got ", count, name_.empty() ? "" : " in ", name_, ".");
  if (std::count(bad_.begin(), bad_.end(), 0) < tiles) refuse_nan();
  spared_.clear();
  last_ = key_of(kSpent);  // where nothing goes, what went before still does
  if (count == 0) return;
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
    const int64_t most = histogram_[row / tile_ * kBins + bin.number];
    const auto found = std::make_unique_for_overwrite<uint32_t[]>(most + 1);
    uint32_t* next = found.get();
    auto& memory = row_memory();
    for (int64_t r = row; r < last; ++r) {
      scores_of(r, memory);
      for (const float score : memory) {
        const uint32_t key = key_of(score);
        *next = key;
        next += (key >> kShift) == bin.number;
      }
    }
    std::copy(found.get(), next, keys.data() + places[row / tile_]);
  });
  const Threshold found = threshold_of(keys, count - 1 - bin.below, kBinBits);
  last_ = found.key;
  if (last_ == key_of(kSpent)) return;
  const int64_t stay =
      found.equal - (count - bin.below - found.below);  // the first of the equal ones
  std::vector<float> memory;
  for (int64_t row = 0; static_cast<int64_t>(spared_.size()) < stay; ++row) {
    const float* scores = scores_of(row, memory);
    for (int64_t i = 0; i < columns_ && static_cast<int64_t>(spared_.size()) < stay; ++i) {
      if (key_of(scores[i]) == last_) spared_.push_back(row * columns_ + i);
    }
  }
}

int32_t BlockSelection::threshold() const {
  return std::bit_cast<int32_t>(last_ >= 0x80000000u ? last_ ^ 0x80000000u : ~last_);
}

void BlockSelection::write(const torch::Tensor& mask, int64_t row, int64_t last) const {
  bool* first = mask.mutable_data_ptr<bool>();
  auto& memory = row_memory();
  for (int64_t r = row; r < last; ++r) {
    mask_row(scores_of(r, memory), last_, first + r * mask.stride(0), columns_);
  }
  for (const int64_t i : spared_) {
    const int64_t r = i / columns_;
    if (r >= row && r < last) first[r * mask.stride(0) + i % columns_] = true;
  }
}

}  // namespace cupel
