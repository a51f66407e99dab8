#pragma once

#include "cupel/model/model.h"

namespace cupel {

#define CUPEL_ARCHITECTURE(function, name) Architecture function();
#include "cupel/model/architectures.def"
#undef CUPEL_ARCHITECTURE

}  // namespace cupel
