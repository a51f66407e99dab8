#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace cupel {

/// What a bootstrap draws. Groups are ranges of units that keep their size; `ends` are their ends, the
/// last one the number of units.
struct DrawPlan {
  uint64_t seed = 0;
  int64_t draws = 0;
  std::vector<uint64_t> ends;

  bool operator==(const DrawPlan&) const = default;
};

/// Calls body(draw, units) for each draw, from several threads; `units` are the units that it takes,
/// in order. They depend on the plan alone, so those of the last few plans are kept (64 MiB at most):
/// a comparison draws the same items for each of its values, and a grid for each of its models.
void each_draw(const DrawPlan& plan,
               const std::function<void(int64_t draw, const std::vector<uint32_t>& units)>& body);

}  // namespace cupel
