#include "eval/tasks/mmlu_fit.h"

#include <algorithm>

namespace cupel {

namespace {

// Two texts together take as many tokens as each alone, up to a few at the join. Only what is this
// close to the limit is counted whole.
constexpr int64_t kMargin = 16;

// More tokens than any of them has, as a token has a byte or more.
int64_t most_tokens(const std::vector<std::string>& continuations) {
  std::size_t bytes = 0;
  for (const auto& continuation : continuations) bytes = std::max(bytes, continuation.size());
  return static_cast<int64_t>(bytes) + kMargin;
}

}  // namespace

MmluFitter::MmluFitter(const TextMeasure& measure, MmluForm form,
                       const std::vector<std::string>& heads)
    : measure_(measure), form_(form), heads_(heads) {
  if (!measure.known()) return;
  for (const auto& head : heads) head_tokens_.push_back(measure.count(head));
}

// Tokens beyond the limit; 0 or less where all fits.
int64_t MmluFitter::excess(const std::string& prompt,
                           const std::vector<std::string>& continuations) const {
  const int64_t own = measure_.count(prompt);
  int64_t most = own + 1;
  if (most > measure_.limit || own + most_tokens(continuations) <= measure_.limit) {
    return most - measure_.limit;
  }
  for (const auto& continuation : continuations) {
    most = std::max(most, measure_.count(prompt + continuation));
  }
  return most - measure_.limit;
}

MmluFitter::Fit MmluFitter::fit(const MmluQuestion& question,
                                const std::vector<std::string>& continuations) const {
  auto shots = static_cast<int64_t>(heads_.size()) - 1;
  if (!measure_.known()) return {shots};
  const std::string body = mmlu_body(form_, question);
  const int64_t own = measure_.count(body);
  for (; shots >= 0; --shots) {
    const int64_t tokens = head_tokens_[shots] + own;
    if (tokens + most_tokens(continuations) <= measure_.limit) return {shots};
    if (tokens - kMargin > measure_.limit) continue;
    if (excess(heads_[shots] + body, continuations) <= 0) return {shots};
  }
  return cut(question, continuations);
}

MmluFitter::Fit MmluFitter::cut(const MmluQuestion& question,
                                const std::vector<std::string>& continuations) const {
  MmluQuestion less = question;
  const auto prompt = [&] { return heads_[0] + mmlu_body(form_, less); };
  // What a text is to lose first, then what is still too much: pieces join in other tokens.
  const auto shorten = [&](std::string& text, const auto& whole) {
    int64_t over = excess(whole(), continuations);
    for (int64_t budget = measure_.count(text); over > 0 && !text.empty();) {
      budget = std::max<int64_t>(budget - over, 0);
      text = budget == 0 ? "" : measure_.tail(text, budget);
      over = excess(whole(), continuations);
    }
    return over <= 0;
  };
  if (shorten(less.question, prompt)) return {0, prompt(), true};
  std::string rest = prompt();
  shorten(rest, [&] { return rest; });
  return {0, rest, true};
}

}  // namespace cupel
