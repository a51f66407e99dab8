#include "cupel/compress/layer_names.h"

#include <set>

#include "core/regex.h"
#include "cupel/core/check.h"

namespace cupel {

namespace {

bool matches_glob(const char* pattern, const char* name) {
  for (; *pattern != '*'; ++pattern, ++name) {
    if (*name == '\0') return *pattern == '\0';
    if (*pattern != '?' && *pattern != *name) return false;
  }
  while (*pattern == '*') ++pattern;
  if (*pattern == '\0') return true;
  for (; *name != '\0'; ++name) {
    if (matches_glob(pattern, name)) return true;
  }
  return false;
}

}  // namespace

bool matches_layer(const std::string& pattern, const std::string& name) {
  if (pattern.rfind("re:", 0) == 0) return Regex(pattern.substr(3)).matches(name);
  return matches_glob(pattern.c_str(), name.c_str());
}

std::vector<std::string> select_layers(const char* option, const std::vector<std::string>& patterns,
                                       const std::vector<std::string>& names) {
  std::set<std::string> chosen;
  for (const auto& pattern : patterns) {
    bool any = false;
    for (const auto& name : names) {
      if (!matches_layer(pattern, name)) continue;
      any = true;
      chosen.insert(name);
    }
    check(any, option, "'", pattern, "' matches no linear layer. They are called like ",
          names.empty() ? std::string("(none)") : names.front() + " ... " + names.back(), ".");
  }
  std::vector<std::string> ordered;
  for (const auto& name : names) {
    if (chosen.count(name)) ordered.push_back(name);
  }
  return ordered;
}

}  // namespace cupel
