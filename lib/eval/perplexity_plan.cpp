#include "eval/perplexity_plan.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "cupel/core/check.h"
#include "cupel/core/file.h"
#include "cupel/text/records.h"
#include "eval/wikitext.h"

namespace cupel {

namespace {

constexpr const char* kHere = "perplexity";

// Depends on no machine, so that a number does not either.
constexpr int64_t kBatchTokens = 2048;

std::vector<int64_t> encode(const Tokenizer& tokenizer, const std::string& text,
                            const std::string& bos) {
  std::vector<int64_t> ids = tokenizer.encode(text, bos != "never");
  if (bos == "always" && (ids.empty() || ids.front() != tokenizer.bos())) {
    ids.insert(ids.begin(), tokenizer.bos());
  }
  return ids;
}

bool adds_bos(const Tokenizer& tokenizer) {
  const std::vector<int64_t> ids = tokenizer.encode("");
  return tokenizer.bos() >= 0 && !ids.empty() && ids.front() == tokenizer.bos();
}

class Planner {
 public:
  Planner(const TokenModelInfo& info, const Tokenizer& tokenizer, const std::string& file,
          const PerplexityOptions& options)
      : tokenizer_(tokenizer), file_(file), options_(options) {
    result_.protocol = options.protocol;
    result_.bos = options.bos;
    result_.model = info;
    result_.file = std::filesystem::path(file).filename().string();
    is_jsonl_ = result_.file.ends_with(".jsonl") || result_.file.ends_with(".jsonl.gz");
    check_options();
    result_.tokenizer = tokenizer.fingerprint();
  }

  PerplexityPlan plan() && {
    if (result_.protocol == "harness") {
      plan_documents();
    } else {
      plan_text();
    }
    result_.windows = static_cast<int64_t>(plan_.windows.size());
    for (const auto& window : plan_.windows) result_.scored += window.tokens - window.first;
    for (int64_t i = 0, tokens = kBatchTokens; i < result_.windows; ++i) {
      const int64_t more = plan_.windows[i].tokens - 1;
      if (tokens + more > kBatchTokens) {
        plan_.batches.push_back({i, i});
        tokens = 0;
      }
      tokens += more;
      plan_.batches.back().end = i + 1;
    }
    return std::move(plan_);
  }

 private:
  void check_options() {
    const std::string& protocol = result_.protocol;
    const int64_t most = result_.model.max_length;
    check(protocol == "gptq" || protocol == "harness" || protocol == "llamacpp" ||
              protocol == "strided",
          kHere, "protocols are gptq, harness, llamacpp and strided. Got '", protocol, "'.");
    const int64_t usual = protocol == "harness" ? most : protocol == "llamacpp" ? 512 : 2048;
    result_.length = options_.length == 0 ? std::min(usual, most) : options_.length;
    const int64_t least = protocol == "harness" ? 1 : protocol == "llamacpp" ? 3 : 2;
    check(result_.length >= least && result_.length <= most, kHere, "length lies in [", least, ", ",
          most, "], the positions the model has. Got ", options_.length, ".");
    const bool strided = protocol == "strided";
    check(strided || options_.stride == 0, kHere, "a stride belongs to the protocol strided. Got ",
          options_.stride, " with ", protocol, ".");
    result_.stride = !strided               ? result_.length
                     : options_.stride == 0 ? result_.length / 2
                                            : options_.stride;
    // At a stride of the whole length the first token of each window would have nothing before it.
    check(!strided || (result_.stride >= 1 && result_.stride < result_.length), kHere,
          "the stride lies in [1, length - 1]. Got ", options_.stride, " for a length of ",
          result_.length, ".");
    const std::string& bos = options_.bos;
    check(bos == "auto" || bos == "always" || bos == "never", kHere,
          "bos is auto, always or never. Got '", bos, "'.");
    check(bos != "always" || tokenizer_.bos() >= 0, kHere,
          "the tokenizer has no BOS that could always be there.");
    check(tokenizer_.vocabulary() <= result_.model.vocabulary, kHere,
          "the tokenizer must not make ids that the model lacks. Got ", tokenizer_.vocabulary(),
          " ids for a vocabulary of ", result_.model.vocabulary, ".");
    check(!is_jsonl_ || protocol == "harness", kHere, protocol,
          " reads one plain text; the documents of .jsonl are for harness. Got ", file_, ".");
  }

  void add_window(int64_t begin, int64_t tokens, int64_t first, int64_t block) {
    const auto sequence = static_cast<int64_t>(plan_.sequences.size()) - 1;
    plan_.windows.push_back({sequence, begin, tokens, first, block});
  }

  void count_text(std::string_view text) {
    result_.words += count_words(text);
    result_.bytes += static_cast<int64_t>(text.size());
  }

  void plan_text() {
    {  // the text goes before the windows come
      const std::string text = read_text(file_);
      result_.file_sha256 = sha256(text);
      result_.documents = 1;
      count_text(text);
      plan_.sequences.push_back(encode(tokenizer_, text, options_.bos));
    }
    std::vector<int64_t>& ids = plan_.sequences.back();
    result_.tokens = static_cast<int64_t>(ids.size());
    if (result_.protocol == "strided") {
      plan_strides();
    } else {
      plan_disjoint(ids);
    }
    for (int64_t i = 0; i < static_cast<int64_t>(plan_.windows.size()); ++i) {
      plan_.blocks.push_back(i);
    }
  }

  void plan_disjoint(std::vector<int64_t>& ids) {
    const bool halves = result_.protocol == "llamacpp";
    const int64_t windows = result_.tokens / result_.length, needed = halves ? 2 : 1;
    check(windows >= needed, kHere, "the text must fill ", halves ? "two windows" : "one window",
          " of ", result_.length, " tokens. Got ", result_.tokens, " tokens in ", file_, ".");
    result_.dropped = result_.tokens - windows * result_.length;
    for (int64_t i = 0; i < windows; ++i) {
      add_window(i * result_.length, result_.length, halves ? result_.length / 2 + 1 : 1, i);
    }
    const bool replaces =
        halves && options_.bos != "never" && (options_.bos == "always" || adds_bos(tokenizer_));
    if (!replaces) return;
    int64_t replaced = 0;
    for (const auto& window : plan_.windows) {
      replaced += std::exchange(ids[window.begin], tokenizer_.bos()) != tokenizer_.bos();
    }
    result_.notes.push_back(c10::str(replaced, " tokens gave way to BOS."));
  }

  void plan_strides() {
    check(result_.tokens >= 2, kHere, "the text must have two tokens. Got ", result_.tokens, " in ",
          file_, ".");
    for (int64_t begin = 0, reached = 0; reached < result_.tokens; begin += result_.stride) {
      const int64_t end = std::min(begin + result_.length, result_.tokens);
      const auto block = static_cast<int64_t>(plan_.windows.size());
      add_window(begin, end - begin, std::max<int64_t>(1, reached - begin), block);
      reached = end;
    }
  }

  void plan_documents() {
    prefix_ = tokenizer_.bos() >= 0 ? tokenizer_.bos() : tokenizer_.eos();
    if (is_jsonl_) {
      result_.file_sha256 = sha256(read_file(file_));
      for (auto& text : read_jsonl_field(file_)) add_document(std::exchange(text, {}));
    } else {
      const std::string text = read_text(file_);
      result_.file_sha256 = sha256(text);
      if (result_.file.starts_with("wiki.") && result_.file.ends_with(".raw")) {
        for (const auto article : wikitext_articles(text)) add_document(std::string(article));
      } else {
        add_document(text);
      }
    }
    check(!plan_.windows.empty(), kHere, "there must be a token to score. Got ", result_.documents,
          " documents and ", result_.tokens, " tokens in ", file_, ".");
    if (twice_ > 0) {
      result_.notes.push_back(c10::str(
          twice_, " documents begin with BOS twice, the second scored, as lm-eval has it."));
    }
    if (prefix_ < 0) {
      result_.notes.push_back(c10::str("The tokenizer has neither BOS nor EOS: the first token of ",
                                       "each document is not scored, ", result_.dropped,
                                       " in all."));
    }
  }

  // One document at a time is encoded: the tokenizer's own memory stays that of the longest.
  void add_document(std::string page) {
    const int64_t number = result_.documents++;
    count_text(page);
    const std::string text = detokenise_wikitext(std::move(page));
    auto ids = encode(tokenizer_, text, options_.bos);
    // A text that spells out BOS, where the tokenizer takes that for the token, gets no other one.
    const bool spelled = prefix_ >= 0 && ids.size() >= 2 && ids[0] == prefix_ && ids[1] == prefix_;
    if (spelled && options_.bos == "auto") ids = tokenizer_.encode(text, false);
    result_.tokens += static_cast<int64_t>(ids.size());
    if (prefix_ >= 0 && !ids.empty()) {
      twice_ += ids.front() == prefix_;
      ids.insert(ids.begin(), prefix_);
    }
    const auto size = static_cast<int64_t>(ids.size());
    if (prefix_ < 0) result_.dropped += std::min<int64_t>(1, size);
    if (size < 2) {
      ++result_.skipped;
      return;
    }
    ids.shrink_to_fit();
    plan_.sequences.push_back(std::move(ids));
    const auto block = static_cast<int64_t>(plan_.blocks.size());
    plan_.blocks.push_back(number);
    for (int64_t reached = 1; reached < size;) {
      const int64_t end = std::min(size, reached + result_.length);
      const int64_t begin = std::max<int64_t>(0, end - result_.length - 1);
      add_window(begin, end - begin, reached - begin, block);
      reached = end;
    }
  }

  const Tokenizer& tokenizer_;
  const std::string& file_;
  const PerplexityOptions& options_;
  PerplexityPlan plan_;
  Perplexity& result_ = plan_.result;
  bool is_jsonl_ = false;
  int64_t prefix_ = -1, twice_ = 0;
};

}  // namespace

PerplexityPlan plan_perplexity(const TokenModelInfo& info, const Tokenizer& tokenizer,
                               const std::string& file, const PerplexityOptions& options) {
  return Planner(info, tokenizer, file, options).plan();
}

}  // namespace cupel
