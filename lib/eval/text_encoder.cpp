#include "eval/text_encoder.h"

#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

// What the tokenizer's own configuration puts in front of a text.
std::vector<int64_t> configured_prefix(const Tokenizer& tokenizer) {
  const auto with = tokenizer.encode("a", true), without = tokenizer.encode("a", false);
  const auto found = std::search(with.begin(), with.end(), without.begin(), without.end());
  check(found != with.end() && !without.empty(), "ModelScorer",
        "special tokens must stand around a text to be told from it; say bos=\"always\" or "
        "\"never\" for this tokenizer.");
  return {with.begin(), found};
}

}  // namespace

TextEncoder::TextEncoder(const Tokenizer& tokenizer, const std::string& boundary,
                         const std::string& bos)
    : tokenizer_(tokenizer), boundary_(boundary) {
  check(boundary == "joint" || boundary == "split" || boundary == "harness", "ModelScorer",
        "boundary is joint, split or harness. Got '", boundary, "'.");
  check(bos == "auto" || bos == "always" || bos == "never", "ModelScorer",
        "bos is auto, always or never. Got '", bos, "'.");
  check(boundary != "harness" || bos == "auto", "ModelScorer",
        "the harness leaves BOS to the tokenizer: bos is auto there. Got '", bos, "'.");
  check(bos != "always" || tokenizer.bos() >= 0, "ModelScorer",
        "bos=\"always\" needs a tokenizer that has BOS.");
  if (bos == "always") {
    prefix_ = {tokenizer.bos()};
  } else if (bos == "auto" && boundary != "harness") {
    prefix_ = configured_prefix(tokenizer);
  }
}

int64_t TextEncoder::start() const {
  const int64_t id = tokenizer_.bos() >= 0 ? tokenizer_.bos() : tokenizer_.eos();
  check(id >= 0, "ModelScorer",
        "a text with nothing before it starts from BOS or EOS; this tokenizer has neither.");
  return id;
}

std::vector<int64_t> TextEncoder::prompt(const std::string& text,
                                         const std::vector<std::string>& special) const {
  std::vector<int64_t> ids;
  std::size_t begin = 0;
  for (bool first = true;; first = false) {
    std::size_t end = std::string::npos, length = 0;
    int64_t token = -1;
    for (const auto& mark : special) {  // the nearest; of two at one place the longer
      const std::size_t at = mark.empty() ? std::string::npos : text.find(mark, begin);
      if (at == std::string::npos || at > end || (at == end && mark.size() <= length)) continue;
      const int64_t id = tokenizer_.special_id(mark);
      if (id < 0) continue;
      end = at;
      length = mark.size();
      token = id;
    }
    const std::string between = text.substr(begin, end == std::string::npos ? end : end - begin);
    if (first) {
      ids = this->text(between);
    } else if (!between.empty()) {
      const auto part = tokenizer_.encode(between, false);
      ids.insert(ids.end(), part.begin(), part.end());
    }
    if (token < 0) return ids;
    ids.push_back(token);
    begin = end + length;
  }
}

std::vector<int64_t> TextEncoder::text(const std::string& text) const {
  if (boundary_ == "harness") {
    auto ids = tokenizer_.encode(text, true);
    // A text that spells BOS out keeps its own and gets no other.
    const bool twice = ids.size() >= 2 && ids[0] == tokenizer_.bos() && ids[1] == ids[0];
    return twice ? tokenizer_.encode(text, false) : ids;
  }
  auto ids = tokenizer_.encode(text, false);
  const bool has_it =
      prefix_.size() <= ids.size() && std::equal(prefix_.begin(), prefix_.end(), ids.begin());
  if (!has_it) ids.insert(ids.begin(), prefix_.begin(), prefix_.end());
  return ids;
}

const std::vector<int64_t>& TextEncoder::context_ids(const std::string& context) const {
  if (!has_context_ || context != context_) {
    context_ids_ = text(context);
    context_ = context;
    has_context_ = true;
  }
  return context_ids_;
}

TextEncoder::Pair TextEncoder::pair(const std::string& given_context,
                                    const std::string& given_continuation) const {
  std::string context = given_context, continuation = given_continuation;
  Pair pair;
  auto& [tokens, first] = pair.request;
  if (boundary_ == "harness") {  // white space at the join belongs to the continuation
    const std::size_t kept = context.size() - trailing_white_space(context);
    continuation.insert(0, context, kept);
    // All of it white space: lm-eval encodes an empty context then, special tokens and all.
    context.resize(kept);
  }
  const bool from_nothing = given_context.empty();
  const std::vector<int64_t>& before = context_ids(context);
  if (from_nothing && (boundary_ == "harness" || before.empty())) {
    tokens = tokenizer_.encode(continuation, false);
    if (tokens.empty() || tokens.front() != start()) tokens.insert(tokens.begin(), start());
    first = 1;
  } else if (boundary_ == "split") {
    tokens = before;
    const auto after = tokenizer_.encode(continuation, false);
    tokens.insert(tokens.end(), after.begin(), after.end());
    first = static_cast<int64_t>(before.size());
  } else {
    auto whole = text(context + continuation);
    const auto join = std::mismatch(before.begin(), before.end(), whole.begin(), whole.end()).first;
    pair.boundary_shift = join != before.end();
    first = join - before.begin();
    if (boundary_ == "harness") {  // the context's own tokens, and as many left off the whole
      first = static_cast<int64_t>(before.size());
      const auto shared = std::min(before.size(), whole.size());
      whole.erase(whole.begin(), whole.begin() + static_cast<int64_t>(shared));
      whole.insert(whole.begin(), before.begin(), before.end());
    }
    tokens = std::move(whole);
  }
  const std::string shown = printable(given_continuation, 60);
  check(first >= 1, "ModelScorer", "there must be a token before the first scored one. Got '",
        shown, "' after a context without tokens.");
  check(first < static_cast<int64_t>(tokens.size()), "ModelScorer",
        "there must be a token to score. Got '", shown, "'.");
  return pair;
}

}  // namespace cupel
