#pragma once

#include <cstdint>
#include <functional>

namespace cupel {

/// Whether a loop of a single chunk enters a team of threads all the same.
enum class Team {
  if_needed,
  always  ///< BLAS called inside then stays on one thread, as it does in a loop of many chunks
};

/// Runs body(begin, end) over chunks of [0, size) of at least `grain`, on OpenMP threads. The
/// chunks depend on `size` and `grain` alone, so results cannot depend on the thread count. The
/// first exception (by chunk order) is rethrown on the calling thread.
void parallel_for(int64_t size, int64_t grain,
                  const std::function<void(int64_t begin, int64_t end)>& body,
                  Team team = Team::if_needed);

}  // namespace cupel
