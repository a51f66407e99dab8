#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/regex.h"
#include "model/quantization_config.h"

namespace cupel {

/// Finds the scheme of a layer as compressed-tensors does: exact names, then expressions in order of
/// their text, then the class; `ignore` wins over all.
class PackRules {
 public:
  PackRules(const QuantizationConfig& config, const std::string& file);

  /// Nothing for a layer that is stored dense.
  std::optional<PackScheme> scheme(const std::string& layer);
  /// FormatError when an exact target was never asked for: it names something else than a layer.
  void check_all_used() const;

 private:
  bool ignored(const std::string& layer) const;

  std::string file_;
  std::map<std::string, PackScheme> exact_;
  std::vector<std::pair<Regex, PackScheme>> expressions_;
  std::optional<PackScheme> all_;
  std::set<std::string> unused_, ignored_names_;
  std::vector<Regex> ignored_expressions_;
};

}  // namespace cupel
