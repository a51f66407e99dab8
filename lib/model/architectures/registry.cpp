#include "model/architectures/architectures.h"

namespace cupel {

Registry<Architecture>& architectures() {
  // Never destroyed: an entry may hold a Python callable, and the interpreter ends first.
  static auto* registry = [] {
    auto* known = new Registry<Architecture>("architecture");
#define CUPEL_ARCHITECTURE(function, name) known->add(name, function());
#include "cupel/model/architectures.def"
#undef CUPEL_ARCHITECTURE
    return known;
  }();
  return *registry;
}

}  // namespace cupel
