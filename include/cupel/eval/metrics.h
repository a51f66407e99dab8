#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cupel {

// Rules that compare a written answer with gold answers. Each takes every gold answer of a question and
// gives the best result over them; without any nothing matches. Texts are UTF-8; letters and white space
// are Python's, whose programs the published numbers come from.

/// The answer as TriviaQA's evaluation reads it: "_" becomes a space, then lower case, punctuation
/// (ASCII's, and ` ´ ‘ ’) becomes spaces, the words a, an, the go, white space is joined. (SQuAD's
/// deletes punctuation instead.)
std::string normalize_answer(std::string_view text);

/// TriviaQA's F1, 0..1: 2pr / (p + r) over the words of both normalised answers as bags.
double token_f1(std::string_view prediction, const std::vector<std::string>& gold);

/// TriviaQA's exact match: equal once both are normalised. An answer of which nothing is left equals a
/// gold answer of which nothing is left.
bool exact_match(std::string_view prediction, const std::vector<std::string>& gold);

/// exact_match(), but a gold answer of which nothing is left matches nothing.
bool normalized_equal(std::string_view prediction, const std::vector<std::string>& gold);

/// A gold answer stands in the text, both normalised, in whole words; one of which nothing is left does
/// not.
bool contains_answer(std::string_view text, const std::vector<std::string>& gold);

/// What LLM-KICK's code for TriviaQA calls exact match: one normalised answer is a part of the other,
/// either way round. So an answer of which nothing is left is always right.
bool two_way_substring(std::string_view prediction, const std::vector<std::string>& gold);

/// The answer as LLM-KICK's code for FreebaseQA reads it: white space around it and every ASCII space
/// within it go, then lower case.
std::string kick_normalize(std::string_view text);

/// What that code calls exact match: a gold answer is a part of the output, both by kick_normalize().
/// The code passes the output with its prompt. An empty gold answer is a part of everything.
bool kick_substring(std::string_view output, const std::vector<std::string>& gold);

}  // namespace cupel
