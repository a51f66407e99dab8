#include "cupel/compress/criterion.h"

namespace cupel {

Registry<Criterion>& criteria() {
  // Never destroyed: an entry may hold a Python callable, and the interpreter ends first.
  static auto* registry = [] {
    auto* known = new Registry<Criterion>("criterion");
#define CUPEL_CRITERION(function) known->add(#function, function());
#include "cupel/compress/criteria.def"
#undef CUPEL_CRITERION
    return known;
  }();
  return *registry;
}

}  // namespace cupel
