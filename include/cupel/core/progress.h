#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "cupel/core/error.h"

namespace cupel {

/// Where a long call stands. `done` of `total` steps of `stage` ("calibrate", "compress", "score").
struct Progress {
  std::string stage;
  std::string name;  ///< the layer, file or task at hand
  int64_t done = 0;
  int64_t total = 0;
  double seconds = 0;                                      ///< since the call began
  double loss = std::numeric_limits<double>::quiet_NaN();  ///< of the layer just finished, if any
  bool layer_done = false;  ///< true on the one report that ends a layer
};

/// Called on the caller's own thread, at least twice a second; false cancels (throws Cancelled).
using ProgressFunction = std::function<bool(const Progress&)>;

/// While it lives, still_working() on this thread calls `tick`: what a long call reports through
/// code that knows nothing of progress, such as a solver. Scopes nest; the innermost counts.
class WorkScope {
 public:
  explicit WorkScope(std::function<void()> tick);
  ~WorkScope();
  WorkScope(const WorkScope&) = delete;
  WorkScope& operator=(const WorkScope&) = delete;

 private:
  friend void still_working();
  std::function<void()> tick_;
  WorkScope* outer_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

/// Called by long computations between their steps, on the caller's thread: at most every 0.2 s the
/// innermost WorkScope ticks, which may throw Cancelled. Costs next to nothing otherwise.
void still_working();

/// Reports through a ProgressFunction and turns its `false` into Cancelled.
class ProgressReporter {
 public:
  explicit ProgressReporter(ProgressFunction function) : function_(std::move(function)) {}

  void report(Progress progress) const {
    if (!function_) return;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
    progress.seconds = passed.count();
    if (!function_(progress)) throw Cancelled();
  }

 private:
  ProgressFunction function_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace cupel
