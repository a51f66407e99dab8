#include "cupel/eval/statistics.h"
#include "support/catch.h"

#include <vector>

using namespace cupel;

TEST_CASE("paired_bootstrap: draws that were kept are those that were made") {
  const std::vector<double> dense{1, 2, 4, 3, 0.5}, compressed{1.5, 1, 3.5, 3, 0.25};
  const BootstrapOptions other{.draws = 20, .seed = 8},
      within{.draws = 20, .seed = 7, .strata = {1, 1, 2, 2, 2}};
  const auto draw = [&](const BootstrapOptions& options) {
    const auto got = paired_bootstrap(dense, compressed, options);
    return std::vector<double>{got.difference.standard_error, got.ratio.low, got.ratio.high};
  };
  const auto first = draw({.draws = 20, .seed = 7}), second = draw(other), third = draw(within);
  CHECK(first != second);
  CHECK(first != third);
  CHECK(draw({.draws = 20, .seed = 7}) == first);
  CHECK(draw(other) == second);
  CHECK(draw(within) == third);
  // Other values behind the same draws, and a plan too large to be kept.
  const auto doubled = paired_bootstrap({2, 4, 8, 6, 1}, {3, 2, 7, 6, 0.5}, other);
  CHECK(doubled.difference.standard_error == Approx(2 * second[0]));
  const std::vector<double> many(70000, 1);
  CHECK(paired_bootstrap(many, many, {.draws = 3}).difference.standard_error == 0);
}
