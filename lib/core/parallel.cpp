#include "cupel/core/parallel.h"

#include <algorithm>
#include <exception>
#include <vector>

namespace cupel {

void parallel_for(int64_t size, int64_t grain, const std::function<void(int64_t, int64_t)>& body,
                  Team team) {
  if (size <= 0) return;
  const int64_t step = std::max<int64_t>(grain, 1);
  const int64_t chunks = (size + step - 1) / step;
  std::vector<std::exception_ptr> errors(chunks);
#pragma omp parallel for schedule(dynamic) if (chunks > 1 || team == Team::always)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    try {  // an exception that leaves an OpenMP region ends the process
      body(chunk * step, std::min(size, (chunk + 1) * step));
    } catch (...) {
      errors[chunk] = std::current_exception();
    }
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace cupel
