#pragma once

#include <cstdint>

namespace cupel {

// Selection without sorting. Scores are compared as integers in their order, so that tiny ones stay
// apart even for a thread that flushes denormal numbers; -0 equals 0. None may be NaN.

/// keep [size]: all but the `count` lowest scores. Of scores equal to the last to go, the higher index
/// goes first, or the lower one with `lower_first`. Large sizes are dealt out among the threads.
void keep_all_but_lowest(const float* scores, bool* keep, int64_t size, int64_t count,
                         bool lower_first);

/// The same within each of `groups` groups of m scores.
void keep_all_but_lowest_of_m(const float* scores, bool* keep, int64_t groups, int64_t m,
                              int64_t count, bool lower_first);

/// keep [size]: what is above the score at `index` of the sorted scores.
void keep_above_sorted(const float* scores, bool* keep, int64_t size, int64_t index);

/// The first NaN of scores [size]; -1 when there is none.
int64_t find_nan(const float* scores, int64_t size);

}  // namespace cupel
