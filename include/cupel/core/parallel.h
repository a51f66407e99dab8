#pragma once

#include <cstdint>
#include <functional>

namespace cupel {

/// Runs body(begin, end) over chunks of [0, size) of at least `grain`, on OpenMP threads. The
/// chunks depend on `size` and `grain` alone, so results cannot depend on the thread count. The
/// first exception (by chunk order) is rethrown on the calling thread.
void parallel_for(int64_t size, int64_t grain,
                  const std::function<void(int64_t begin, int64_t end)>& body);

}  // namespace cupel
