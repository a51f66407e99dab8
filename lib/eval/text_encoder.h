#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cupel/eval/scorer.h"
#include "cupel/text/tokenizer.h"
#include "eval/request_trie.h"

namespace cupel {

/// Turns texts into the tokens that are run, by the boundary and BOS rules of ScorerOptions.
class TextEncoder {
 public:
  TextEncoder(const Tokenizer& tokenizer, const std::string& boundary, const std::string& bos);

  struct Pair {
    TokenRequest request;
    bool boundary_shift = false;  ///< a token spans the join
  };
  /// std::invalid_argument when nothing is left to score, or nothing stands before it.
  Pair pair(const std::string& context, const std::string& continuation) const;

  /// A text by itself: a prompt, or what is scored whole.
  std::vector<int64_t> text(const std::string& text) const;
  /// The same with special tokens, see GenerationRequest::special.
  std::vector<int64_t> prompt(const std::string& text,
                              const std::vector<std::string>& special) const;

  /// What stands before a text that has nothing before it: BOS, else EOS.
  int64_t start() const;

 private:
  const std::vector<int64_t>& context_ids(const std::string& context) const;

  const Tokenizer& tokenizer_;
  std::string boundary_;
  std::vector<int64_t> prefix_;  // tokens in front of every text
  // The context encoded last: the choices of a question follow each other.
  mutable std::string context_;
  mutable std::vector<int64_t> context_ids_;
  mutable bool has_context_ = false;
};

}  // namespace cupel
