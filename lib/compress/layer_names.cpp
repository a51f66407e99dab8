#include "cupel/compress/layer_names.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <set>

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

bool matches_regex(const std::string& pattern, const std::string& name) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_ANCHORED | PCRE2_UTF, &error, &offset, nullptr),
      pcre2_code_free);
  if (!code) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(error, text, sizeof text);
    throw std::invalid_argument(c10::str("[layer names] 're:", pattern, "' is no regular expression: ",
                                         reinterpret_cast<char*>(text), " at offset ", offset, "."));
  }
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  pcre2_set_match_limit(context.get(), 1'000'000);
  const int found = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(),
                                0, 0, data.get(), context.get());
  check(found >= 0 || found == PCRE2_ERROR_NOMATCH, "layer names", "'re:", pattern,
        "' takes too many steps on '", name, "'.");
  return found >= 0;
}

}  // namespace

bool matches_layer(const std::string& pattern, const std::string& name) {
  if (pattern.rfind("re:", 0) == 0) return matches_regex(pattern.substr(3), name);
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
