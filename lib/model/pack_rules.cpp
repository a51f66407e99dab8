#include "model/pack_rules.h"

#include <algorithm>

#include "cupel/core/error.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

constexpr const char* kField = "quantization_config";
// Expressions of a file: enough for every recipe, few and short enough to try on every layer.
constexpr std::size_t kMaxExpressions = 64, kMaxExpressionBytes = 1000;
constexpr uint32_t kMaxSteps = 10'000;

bool is_expression(const std::string& target) { return target.starts_with("re:"); }

Regex compile(const std::string& target, const std::string& file) {
  try {
    if (target.size() > kMaxExpressionBytes) throw std::invalid_argument("is too long.");
    return Regex(target.substr(3), kMaxSteps);
  } catch (const std::invalid_argument& error) {
    throw FormatError(file, kField, error.what());
  }
}

}  // namespace

PackRules::PackRules(const QuantizationConfig& config, const std::string& file) : file_(file) {
  std::map<std::string, PackScheme> schemes;
  for (const auto& group : config.groups) {
    for (const auto& target : group.targets) {
      if (!schemes.emplace(target, group.scheme).second) {
        throw FormatError(file, kField,
                          "a target must stand once. Got '" + printable(target, 120) + "' again.");
      }
    }
  }
  for (const auto& [target, scheme] : schemes) {  // sorted by text, which is the order that counts
    if (is_expression(target)) {
      expressions_.emplace_back(compile(target, file), scheme);
    } else if (target == kLinearClass) {
      all_ = scheme;
    } else {
      exact_.emplace(target, scheme);
      unused_.insert(target);
    }
  }
  for (const auto& target : config.ignore) {
    if (is_expression(target))
      ignored_expressions_.push_back(compile(target, file));
    else
      ignored_names_.insert(target);
  }
  if (expressions_.size() + ignored_expressions_.size() > kMaxExpressions) {
    throw FormatError(file, kField,
                      "there may be " + std::to_string(kMaxExpressions) + " expressions at most.");
  }
}

bool PackRules::ignored(const std::string& layer) const {
  return ignored_names_.count(layer) || ignored_names_.count(kLinearClass) ||
         std::any_of(ignored_expressions_.begin(), ignored_expressions_.end(),
                     [&](const Regex& expression) { return expression.matches(layer); });
}

std::optional<PackScheme> PackRules::scheme(const std::string& layer) {
  unused_.erase(layer);
  try {
    if (ignored(layer)) return std::nullopt;
    if (const auto exact = exact_.find(layer); exact != exact_.end()) return exact->second;
    for (const auto& [expression, scheme] : expressions_) {
      if (expression.matches(layer)) return scheme;
    }
  } catch (const std::invalid_argument& error) {
    throw FormatError(file_, kField, error.what());
  }
  return all_;
}

void PackRules::check_all_used() const {
  if (unused_.empty()) return;
  throw FormatError(file_, kField,
                    "targets are linear layers of the blocks, expressions, or '" +
                        std::string(kLinearClass) + "'. Got '" + printable(*unused_.begin(), 120) +
                        "'.");
}

}  // namespace cupel
