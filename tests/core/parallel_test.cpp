#include "cupel/core/parallel.h"

#include "support/catch.h"

#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using cupel::parallel_for;

namespace {

std::set<std::pair<int64_t, int64_t>> chunks(int64_t size, int64_t grain) {
  std::mutex mutex;
  std::set<std::pair<int64_t, int64_t>> seen;
  parallel_for(size, grain, [&](int64_t begin, int64_t end) {
    const std::lock_guard lock(mutex);
    CHECK(seen.emplace(begin, end).second);
  });
  return seen;
}

}  // namespace

TEST_CASE("parallel_for: every index is visited once", "[core]") {
  for (const int64_t size : {1, 2, 7, 100, 1001}) {
    for (const int64_t grain : {1, 3, 64, 5000}) {
      std::vector<int> visits(size, 0);
      parallel_for(size, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++visits[i];
      });
      CHECK(visits == std::vector<int>(size, 1));
    }
  }
}

TEST_CASE("parallel_for: chunks follow from size and grain alone", "[core]") {
  using Chunks = std::set<std::pair<int64_t, int64_t>>;
  CHECK(chunks(10, 4) == Chunks{{0, 4}, {4, 8}, {8, 10}});
  CHECK(chunks(4, 4) == Chunks{{0, 4}});
  CHECK(chunks(2, 0) == Chunks{{0, 1}, {1, 2}});  // a grain below one counts as one
}

TEST_CASE("parallel_for: an empty range calls nothing", "[core]") {
  CHECK(chunks(0, 4).empty());
  CHECK(chunks(-3, 4).empty());
}

TEST_CASE("parallel_for: the first exception by chunk order comes back", "[core]") {
  for (int repeat = 0; repeat < 20; ++repeat) {
    try {
      parallel_for(64, 1, [](int64_t begin, int64_t) {
        if (begin % 2 == 1) throw std::runtime_error(std::to_string(begin));
      });
      FAIL("nothing was thrown");
    } catch (const std::runtime_error& error) {
      CHECK(error.what() == std::string("1"));
    }
  }
}
