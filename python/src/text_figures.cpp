#include "bindings.h"

namespace cupel::python {

void bind_text_figures(py::module_& m) {
  py::class_<RougeScore>(m, "RougeScore", "One ROUGE score, each number in [0, 1].")
      .def_readonly("precision", &RougeScore::precision)
      .def_readonly("recall", &RougeScore::recall)
      .def_readonly("f1", &RougeScore::f1)
      .def("__repr__", [](const RougeScore& s) {
        return c10::str("<RougeScore precision ", s.precision, ", recall ", s.recall, ", f1 ", s.f1,
                        ">");
      });
  py::class_<Rouge>(m, "Rouge", "ROUGE of one text.")
      .def_readonly("rouge1", &Rouge::rouge1, "words in common")
      .def_readonly("rouge2", &Rouge::rouge2, "bigrams in common")
      .def_readonly("rougeL", &Rouge::rougeL, "longest common subsequence of the whole texts")
      .def_readonly("rougeLsum", &Rouge::rougeLsum,
                    "the same by lines: for each of the reference the union over those of the text")
      .def("__repr__", [](const Rouge& r) {
        return c10::str("<Rouge f1: rouge1 ", r.rouge1.f1, ", rouge2 ", r.rouge2.f1, ", rougeL ",
                        r.rougeL.f1, ", rougeLsum ", r.rougeLsum.f1, ">");
      });
  m.def(
      "rouge",
      [](const py::object& references, const std::string& text, bool stem) {
        if (py::isinstance<py::str>(references)) {
          return rouge(std::string_view(references.cast<std::string>()), text, stem);
        }
        return rouge(references.cast<std::vector<std::string>>(), text, stem);
      },
      py::arg("references"), py::arg("text"), py::arg("stem") = false,
      R"(ROUGE of a text (Lin 2004), number for number as the package rouge_score 0.1.2.

Args:
    references: A text, or a list of them; each score is then against the one with the largest F1.
    text: What is scored. Words are runs of a-z and 0-9, in small letters.
    stem: Words of more than 3 characters are stemmed (porter_stem()).

Raises:
    ValueError: An empty list of references.)");
  m.def("porter_stem", &porter_stem, py::arg("word"),
        "Porter's stem of a word in small letters, as NLTK's PorterStemmer.");
  m.def("distinct_ngrams", &distinct_ngrams, py::arg("text"), py::arg("n"),
        R"(Different n-grams of words per n-gram, in (0, 1] ("distinct-n", Li et al. 2016).

Words stand between white space. None for a text of less than n words; ValueError unless n >= 1.)");
  m.def("repeated_ngrams", &repeated_ngrams, py::arg("text"), py::arg("n"),
        "Share of the n-grams of words that stood in the text before: 1 - distinct_ngrams(), or "
        "None.");
  m.def(
      "novel_ngrams", &novel_ngrams, py::arg("text"), py::arg("source"), py::arg("n"),
      R"(Share of the different n-grams of a text that its source lacks (See et al. 2017), in [0, 1].

Words are those of rouge(), without stems. None for a text of less than n words.)");
  py::class_<TextFigures>(m, "TextFigures", "Figures of a text that need no reference.")
      .def_readonly("words", &TextFigures::words, "between white space, as str.split() has them")
      .def_readonly("unique_words", &TextFigures::unique_words, "different ones")
      .def_readonly("distinct_2", &TextFigures::distinct_2, "distinct_ngrams(text, 2)")
      .def_readonly("repeated_4", &TextFigures::repeated_4, "repeated_ngrams(text, 4)");
  m.def("text_figures", &text_figures, py::arg("text"), "The TextFigures of a text.");
}

}  // namespace cupel::python
