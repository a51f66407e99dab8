#include "cupel/core/parallel.h"

#include <algorithm>
#include <exception>
#include <vector>

// Of MKL, where LibTorch carries it.
extern "C" int MKL_Set_Num_Threads_Local(int threads) __attribute__((weak));

namespace cupel {

namespace {

// While it lives, MKL works for one thread. Inside a region it gets no more anyway, but would still split
// a product for as many as it was told there are, and its bytes would depend on their number.
class OneBlasThread {
 public:
  OneBlasThread() : before_(MKL_Set_Num_Threads_Local ? MKL_Set_Num_Threads_Local(1) : 0) {}
  ~OneBlasThread() {
    if (MKL_Set_Num_Threads_Local) MKL_Set_Num_Threads_Local(before_);
  }
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;

 private:
  int before_;
};

}  // namespace

void parallel_for(int64_t size, int64_t grain, const std::function<void(int64_t, int64_t)>& body,
                  Team team) {
  if (size <= 0) return;
  const int64_t step = std::max<int64_t>(grain, 1);
  const int64_t chunks = (size + step - 1) / step;
  std::vector<std::exception_ptr> errors(chunks);
  const auto run = [&](int64_t chunk) {
    try {  // an exception that leaves an OpenMP region ends the process
      body(chunk * step, std::min(size, (chunk + 1) * step));
    } catch (...) {
      errors[chunk] = std::current_exception();
    }
  };
  if (chunks > 1 || team == Team::always) {
#pragma omp parallel
    {
      const OneBlasThread guard;
#pragma omp for schedule(dynamic)
      for (int64_t chunk = 0; chunk < chunks; ++chunk) run(chunk);
    }
  } else {
    run(0);
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace cupel
