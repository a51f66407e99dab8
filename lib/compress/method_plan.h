#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cupel/compress/compress_model.h"

namespace cupel {

/// Which layers are compressed, by what, and how many weights each is to lose.
class MethodPlan {
 public:
  /// Applies skip, only and overrides to the linear layers `names` (in model order). Throws
  /// std::invalid_argument for a pattern that matches nothing and when no layer is left.
  MethodPlan(const std::vector<std::string>& names, const Compressor& compressor,
             const CompressOptions& options);

  /// Asks options.allocation, if there is one.
  void allocate_counts(const Model& model, const Calibration& calibration,
                       const std::function<void()>& on_batch);

  bool contains(const std::string& name) const { return methods_.count(name) > 0; }
  const Compressor& method(const std::string& name) const { return *methods_.at(name); }
  int64_t count(const std::string& name) const;  ///< -1 = as the method says
  int64_t size() const { return static_cast<int64_t>(methods_.size()); }
  Needs needs() const;  ///< of all methods together

  std::vector<LayerPlan> layers() const;        ///< in model order
  std::vector<std::string> left_alone() const;  ///< the other names

 private:
  std::vector<std::string> names_;
  const CompressOptions& options_;
  std::map<std::string, const Compressor*> methods_;
  std::map<std::string, int64_t> counts_;
};

}  // namespace cupel
