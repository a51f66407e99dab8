#include "bindings.h"
#include "cupel/core/unicode.h"

namespace cupel::python {

namespace {

using Gold = std::vector<std::string>;

// A single string would be a list of its letters to pybind11's caster of sequences; it refuses str, so
// one answer is a list of one.
template <typename Result>
void bind_rule(py::module_& m, const char* name,
               Result (*rule)(std::string_view, const std::vector<std::string>&), const char* first,
               const char* text) {
  m.def(
      name, [rule](const std::string& written, const Gold& gold) { return rule(written, gold); },
      py::arg(first), py::arg("gold"), text);
}

}  // namespace

void bind_metrics(py::module_& m) {
  m.def(
      "lower_case", [](const std::string& text) { return lower_case(text); }, py::arg("text"),
      "str.lower() as the library has it, by ICU's tables: what answers are matched in.");
  m.def(
      "normalize_answer", [](const std::string& text) { return normalize_answer(text); },
      py::arg("text"),
      R"(The answer as TriviaQA's evaluation reads it.

"_" becomes a space, then lower case, punctuation (ASCII's and four quotes) becomes spaces, the words a,
an and the go, white space is joined.

Mandar Joshi et al., triviaqa_evaluation.py (github.com/mandarjoshi90/triviaqa).)");
  m.def(
      "kick_normalize", [](const std::string& text) { return kick_normalize(text); },
      py::arg("text"),
      "The answer as LLM-KICK's code for FreebaseQA reads it: text.strip().replace(' ', "
      "'').lower().");
  bind_rule(m, "token_f1", &token_f1, "prediction",
            R"(TriviaQA's F1 over the words of both normalised answers, the best over gold answers.

Args:
    prediction: What the model wrote.
    gold: A list of answers.

Returns:
    float: 2 p r / (p + r), 0 to 1; 0 without gold answers.)");
  bind_rule(
      m, "exact_match", &exact_match, "prediction",
      "TriviaQA's exact match: a gold answer equals the prediction, both by normalize_answer().");
  bind_rule(
      m, "normalized_equal", &normalized_equal, "prediction",
      "exact_match(), but a gold answer of which normalize_answer() leaves nothing is never met.");
  bind_rule(m, "contains_answer", &contains_answer, "text",
            "A gold answer stands in the text in whole words, both by normalize_answer().");
  bind_rule(m, "two_way_substring", &two_way_substring, "prediction",
            R"(What LLM-KICK's code for TriviaQA calls exact match.

Of the prediction and a gold answer, both by normalize_answer(), one is a part of the other, either way
round. An empty prediction is right.)");
  bind_rule(m, "kick_substring", &kick_substring, "output",
            R"(What LLM-KICK's code for FreebaseQA calls exact match.

A gold answer is a part of the output, both by kick_normalize(). The code passes the prompt as a part of
the output. An empty gold answer is always met.)");
}

}  // namespace cupel::python
