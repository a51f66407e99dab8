#include "core/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"

namespace cupel {

struct Regex::State {
  std::string pattern;
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code{nullptr, pcre2_code_free};
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context{
      nullptr, pcre2_match_context_free};
};

Regex::Regex(const std::string& pattern, uint32_t steps) : state_(new State{pattern}) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  state_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_ANCHORED | PCRE2_UTF, &error, &offset, nullptr));
  if (!state_->code) {
    PCRE2_UCHAR text[256];
    pcre2_get_error_message(error, text, sizeof text);
    throw std::invalid_argument(c10::str(
        "[layer names] 're:", printable(pattern, 120),
        "' is no regular expression: ", reinterpret_cast<char*>(text), " at offset ", offset, "."));
  }
  state_->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(state_->context.get(), steps);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

bool Regex::matches(const std::string& text) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(state_->code.get(), nullptr), pcre2_match_data_free);
  const int found = pcre2_match(state_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                text.size(), 0, 0, data.get(), state_->context.get());
  check(found >= 0 || found == PCRE2_ERROR_NOMATCH, "layer names",
        "'re:", printable(state_->pattern, 120), "' takes too many steps on '",
        printable(text, 120), "'.");
  return found >= 0;
}

}  // namespace cupel
