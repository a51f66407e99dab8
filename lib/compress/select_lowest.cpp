// The threshold is found by the leading bits: a histogram of all scores says in which bin it lies, and
// only what is in that bin is looked at again.
#include "compress/select_lowest.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "compress/score_key.h"
#include "core/clones.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

constexpr int64_t kChunk = 1 << 16;
constexpr int kBinBits = 11;
constexpr int kBins = 1 << kBinBits;
constexpr int kShift = 32 - kBinBits;

}  // namespace

Bin find_bin(const int64_t* histogram, int64_t index) {
  Bin bin;
  while (bin.below + histogram[bin.number] <= index) bin.below += histogram[bin.number++];
  return bin;
}

Threshold threshold_of(std::vector<uint32_t>& keys, int64_t index, int known) {
  // A second look at the bits that follow, where there is much to sort out.
  int64_t below = 0;
  if (keys.size() > 4096) {
    std::vector<int64_t> histogram(kBins, 0);
    const int shift = 32 - known - kBinBits;
    for (const uint32_t key : keys) ++histogram[(key >> shift) & (kBins - 1)];
    const Bin bin = find_bin(histogram.data(), index);
    std::erase_if(keys, [&](uint32_t key) { return ((key >> shift) & (kBins - 1)) != bin.number; });
    below = bin.below;
    index -= bin.below;
  }
  const auto at = keys.begin() + index;
  std::nth_element(keys.begin(), at, keys.end());
  Threshold found{.key = *at};
  for (const uint32_t key : keys) {
    found.below += key < found.key;
    found.equal += key == found.key;
  }
  found.below += below;
  return found;
}

namespace {

struct Scratch {
  std::vector<int64_t> histogram = std::vector<int64_t>(kBins);
  std::vector<uint32_t> keys;
};

Scratch& scratch() {
  thread_local Scratch memory;
  return memory;
}

Threshold threshold_in(const float* scores, int64_t size, int64_t index) {
  if (size <= kChunk) {
    auto& [histogram, keys] = scratch();
    std::fill(histogram.begin(), histogram.end(), 0);
    for (int64_t i = 0; i < size; ++i) ++histogram[key_of(scores[i]) >> kShift];
    const Bin bin = find_bin(histogram.data(), index);
    keys.resize(size);
    uint32_t* next = keys.data();
    for (int64_t i = 0; i < size; ++i) {
      const uint32_t key = key_of(scores[i]);
      *next = key;
      next += (key >> kShift) == bin.number;
    }
    keys.resize(next - keys.data());
    Threshold found = threshold_of(keys, index - bin.below, kBinBits);
    found.below += bin.below;
    return found;
  }
  const int64_t chunks = (size + kChunk - 1) / kChunk;
  std::vector<int64_t> counts(chunks * kBins, 0);
  parallel_for(size, kChunk, [&](int64_t begin, int64_t end) {
    int64_t* histogram = counts.data() + begin / kChunk * kBins;
    for (int64_t i = begin; i < end; ++i) ++histogram[key_of(scores[i]) >> kShift];
  });
  std::vector<int64_t> histogram(kBins, 0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int b = 0; b < kBins; ++b) histogram[b] += counts[chunk * kBins + b];
  }
  const Bin bin = find_bin(histogram.data(), index);
  std::vector<int64_t> places(chunks);
  int64_t found_in_bin = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    places[chunk] = found_in_bin;
    found_in_bin += counts[chunk * kBins + bin.number];
  }
  std::vector<uint32_t> keys(found_in_bin);
  parallel_for(size, kChunk, [&](int64_t begin, int64_t end) {
    int64_t place = places[begin / kChunk];
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t key = key_of(scores[i]);
      if ((key >> kShift) == bin.number) keys[place++] = key;
    }
  });
  Threshold found = threshold_of(keys, index - bin.below, kBinBits);
  found.below += bin.below;
  return found;
}

CUPEL_CLONES
void keep_part_above(const float* scores, bool* keep, int64_t size, uint32_t key) {
  for (int64_t i = 0; i < size; ++i) keep[i] = key_of(scores[i]) > key;
}

void keep_above(const float* scores, bool* keep, int64_t size, uint32_t key) {
  parallel_for(size, kChunk, [&](int64_t begin, int64_t end) {
    keep_part_above(scores + begin, keep + begin, end - begin, key);
  });
}

// Looks at all, without a branch that would keep compilers from making vectors of it.
CUPEL_CLONES
bool has_nan(const float* scores, int64_t size) {
  int32_t bad = 0;
  for (int64_t i = 0; i < size; ++i) bad |= scores[i] != scores[i];
  return bad != 0;
}

}  // namespace

void keep_all_but_lowest(const float* scores, bool* keep, int64_t size, int64_t count,
                         bool lower_first) {
  if (count <= 0 || count >= size) {
    std::fill(keep, keep + size, count <= 0);
    return;
  }
  const Threshold last = threshold_in(scores, size, count - 1);
  keep_above(scores, keep, size, last.key);
  int64_t stay = last.equal - (count - last.below);  // of the equal ones
  for (int64_t k = 0; k < size && stay > 0; ++k) {
    const int64_t i = lower_first ? size - 1 - k : k;
    if (key_of(scores[i]) != last.key) continue;
    keep[i] = true;
    --stay;
  }
}

void keep_all_but_lowest_of_m(const float* scores, bool* keep, int64_t groups, int64_t m,
                              int64_t count, bool lower_first) {
  const int64_t grain = std::max<int64_t>(1, kChunk / std::max<int64_t>(m, 1));
  parallel_for(groups, grain, [&](int64_t begin, int64_t end) {
    std::vector<uint32_t> keys(m);
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * m;
      for (int64_t k = 0; k < m; ++k) keys[k] = key_of(scores[first + k]);
      for (int64_t k = 0; k < m; ++k) {
        int64_t before = 0;  // those that go before this one
        for (int64_t other = 0; other < k; ++other) {
          before += lower_first ? keys[other] <= keys[k] : keys[other] < keys[k];
        }
        for (int64_t other = k + 1; other < m; ++other) {
          before += lower_first ? keys[other] < keys[k] : keys[other] <= keys[k];
        }
        keep[first + k] = before >= count;
      }
    }
  });
}

void keep_above_sorted(const float* scores, bool* keep, int64_t size, int64_t index) {
  keep_above(scores, keep, size, threshold_in(scores, size, index).key);
}

int64_t find_nan(const float* scores, int64_t size) {
  std::vector<int64_t> first((size + kChunk - 1) / kChunk, -1);
  parallel_for(size, kChunk, [&](int64_t begin, int64_t end) {
    if (!has_nan(scores + begin, end - begin)) return;
    int64_t i = begin;
    while (!std::isnan(scores[i])) ++i;
    first[begin / kChunk] = i;
  });
  for (const int64_t at : first) {
    if (at >= 0) return at;
  }
  return -1;
}

}  // namespace cupel
