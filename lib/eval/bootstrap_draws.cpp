#include "eval/bootstrap_draws.h"

#include <algorithm>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "cupel/core/parallel.h"
#include "cupel/core/progress.h"
#include "cupel/core/random.h"

namespace cupel {

namespace {

constexpr int64_t kDrawsPerGenerator = 16;    // seeding one costs as much as 3,000 numbers of it
constexpr int64_t kUnitsPerReport = 1 << 24;  // under 0.2 s of work between looks at Ctrl-C
constexpr uint64_t kKeptUnits = 1 << 25;      // of all plans that are kept, 2 bytes each
constexpr uint64_t kKeptAtOnce = kKeptUnits / 2;

using Table = std::shared_ptr<const std::vector<uint16_t>>;

// The plans that were used last, the latest in front.
class Kept {
 public:
  Table find(const DrawPlan& plan) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto at = std::find_if(tables_.begin(), tables_.end(),
                                 [&](const auto& entry) { return entry.first == plan; });
    if (at == tables_.end()) return nullptr;
    tables_.splice(tables_.begin(), tables_, at);
    return at->second;
  }

  void add(const DrawPlan& plan, std::vector<uint16_t> units) {
    const std::lock_guard<std::mutex> lock(mutex_);
    tables_.emplace_front(plan, std::make_shared<const std::vector<uint16_t>>(std::move(units)));
    uint64_t held = 0;
    for (auto it = tables_.begin(); it != tables_.end();) {
      held += it->second->size();
      it = held > kKeptUnits ? tables_.erase(it) : std::next(it);
    }
  }

 private:
  std::mutex mutex_;
  std::list<std::pair<DrawPlan, Table>> tables_;
};

Kept& kept() {
  static Kept kept;
  return kept;
}

bool worth_keeping(const DrawPlan& plan) {
  const uint64_t units = plan.ends.back();
  return units <= 1 << 16 && static_cast<uint64_t>(plan.draws) <= kKeptAtOnce / units;
}

std::vector<uint64_t> generator_seeds(const DrawPlan& plan) {
  PythonRandom master(plan.seed);
  std::vector<uint64_t> seeds((plan.draws + kDrawsPerGenerator - 1) / kDrawsPerGenerator);
  for (uint64_t& seed : seeds) {  // getrandbits(64)
    seed = master.next_u32();
    seed |= static_cast<uint64_t>(master.next_u32()) << 32;
  }
  return seeds;
}

void draw(const DrawPlan& plan, PythonRandom& random, std::vector<uint32_t>& units) {
  uint64_t begin = 0;
  for (const uint64_t end : plan.ends) {
    for (uint64_t i = begin; i < end; ++i) {
      units[i] = static_cast<uint32_t>(begin + random.below(end - begin));
    }
    begin = end;
  }
}

}  // namespace

void each_draw(const DrawPlan& plan,
               const std::function<void(int64_t, const std::vector<uint32_t>&)>& body) {
  const Table table = worth_keeping(plan) ? kept().find(plan) : nullptr;
  const uint64_t size = plan.ends.back();
  std::vector<uint16_t> fresh;
  if (!table && worth_keeping(plan)) fresh.resize(static_cast<uint64_t>(plan.draws) * size);
  const auto seeds = table ? std::vector<uint64_t>() : generator_seeds(plan);
  const int64_t generators = (plan.draws + kDrawsPerGenerator - 1) / kDrawsPerGenerator;
  const int64_t step =
      std::max<int64_t>(kUnitsPerReport / (kDrawsPerGenerator * static_cast<int64_t>(size)), 1);
  for (int64_t first = 0; first < generators; first += step) {
    parallel_for(std::min(step, generators - first), 1, [&](int64_t begin, int64_t end) {
      std::vector<uint32_t> units(size);
      for (int64_t g = first + begin; g < first + end; ++g) {
        std::optional<PythonRandom> random;
        if (!table) random.emplace(seeds[g]);
        const int64_t last = std::min((g + 1) * kDrawsPerGenerator, plan.draws);
        for (int64_t i = g * kDrawsPerGenerator; i < last; ++i) {
          const auto at = static_cast<std::ptrdiff_t>(static_cast<uint64_t>(i) * size);
          if (table) {
            std::copy_n(table->begin() + at, size, units.begin());
          } else {
            draw(plan, *random, units);
          }
          if (!fresh.empty()) std::copy(units.begin(), units.end(), fresh.begin() + at);
          body(i, units);
        }
      }
    });
    still_working();
  }
  if (!fresh.empty()) kept().add(plan, std::move(fresh));
}

}  // namespace cupel
