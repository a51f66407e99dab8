#pragma once

#include "core/json.h"
#include "cupel/eval/evaluate.h"

namespace cupel {

Json manifest_json(const RunManifest& manifest);
RunManifest manifest_from(const Json& json);

/// {"prediction", "gold", "values", "flags"}: what a record and a result hold of an item.
Json item_json(const ItemScore& score);
ItemScore item_from(const Json& json, const std::string& id, const std::string& category);

}  // namespace cupel
