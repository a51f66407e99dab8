#pragma once

#include <set>
#include <string>

#include "cupel/calibration/windows.h"
#include "cupel/compress/allocation.h"
#include "cupel/core/progress.h"
#include "cupel/model/model.h"

namespace cupel {

/// The layers `chosen` of a model as an allocation sees them; holds on to model and calibration.
AllocationInput allocation_input(const Model& model, const Calibration& calibration,
                                 const std::set<std::string>& chosen,
                                 const std::function<void()>& on_batch);

}  // namespace cupel
