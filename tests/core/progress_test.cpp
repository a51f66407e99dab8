#include "cupel/core/progress.h"

#include <thread>

#include "support/catch.h"

using namespace cupel;

namespace {

void wait_a_tick() { std::this_thread::sleep_for(std::chrono::milliseconds(220)); }

}  // namespace

TEST_CASE("still_working: nothing happens outside of a scope") { still_working(); }

TEST_CASE("still_working: ticks at most every 0.2 s, and what a tick throws comes out") {
  int ticks = 0;
  const WorkScope scope([&] {
    if (++ticks == 2) throw Cancelled();
  });
  still_working();
  CHECK(ticks == 0);  // too soon
  wait_a_tick();
  still_working();
  still_working();
  CHECK(ticks == 1);
  wait_a_tick();
  CHECK_THROWS_AS(still_working(), Cancelled);
}

TEST_CASE("still_working: the innermost scope of this thread counts") {
  int outer = 0, inner = 0;
  const WorkScope first([&] { ++outer; });
  {
    const WorkScope second([&] { ++inner; });
    wait_a_tick();
    still_working();
    std::thread([] { still_working(); }).join();
  }
  CHECK(inner == 1);
  CHECK(outer == 0);
  still_working();
  CHECK(outer == 1);
}
