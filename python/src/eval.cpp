#include "bindings.h"

namespace cupel::python {

void bind_eval(py::module_& m) {
  bind_token_model(m);
  bind_scorer(m);
  bind_statistics(m);
  bind_perplexity(m);

  py::class_<Scores>(m, "Scores", "The outcome of an evaluation, with its provenance.")
      .def_readonly("model", &Scores::model)
      .def_readonly("tokenizer", &Scores::tokenizer, "fingerprint")
      .def_readonly("metrics", &Scores::metrics, "metrics[task][protocol][metric]")
      .def_readonly("perplexities", &Scores::perplexities)
      .def("to_json", &Scores::to_json)
      .def_static("from_json", &Scores::from_json, py::arg("text"), py::arg("file") = "scores.json",
                  "Reads what to_json() wrote. FormatError otherwise.");
  m.def(
      "evaluate",
      [](const py::object& model, const py::object& tokenizer,
         const std::vector<std::string>& tasks, const py::object& data, const py::object& text,
         int64_t length, const std::string& protocol, const py::object& progress) {
        const auto tokens = as_token_model(model);
        const auto own = as_tokenizer(tokenizer);
        const EvaluateOptions options{data.is_none() ? "" : as_path(data),
                                      text.is_none() ? "" : as_path(text), length, protocol,
                                      make_progress(progress)};
        py::gil_scoped_release release;
        return evaluate(*tokens, *own, tasks, options);
      },
      py::arg("model"), py::arg("tokenizer"), py::arg("tasks"), py::arg("data") = py::none(),
      py::arg("text") = py::none(), py::arg("length") = 0, py::arg("protocol") = "gptq",
      py::arg("progress") = py::none(),
      R"(Runs tasks on a model.

Args:
    model: A cupel.Model, a cupel.TokenModel, or a causal language model of transformers.
    tasks: Each "name" or "name:key=value,key=value", e.g. "perplexity:file=wiki.test.raw".
    data: Folder of data sets (wikitext2/wiki.test.raw ...).
    text: Text for "perplexity" when the task names no file.
    length: Perplexity window; 0 = min(2048, the model's positions).

Returns:
    Scores

Raises:
    ValueError: An unknown task or option.)");

  py::class_<PairedPerplexity>(m, "PairedPerplexity",
                               "A task of a compressed model beside its dense one.")
      .def_readonly("task", &PairedPerplexity::task)
      .def_readonly("dense", &PairedPerplexity::dense)
      .def_readonly("compressed", &PairedPerplexity::compressed)
      .def_readonly("ratio", &PairedPerplexity::ratio)
      .def_readonly("loss_difference", &PairedPerplexity::loss_difference, "nats per token")
      .def_readonly("standard_error", &PairedPerplexity::standard_error,
                    "of loss_difference, paired over windows");
  py::class_<Comparison>(m, "Comparison").def_readonly("perplexities", &Comparison::perplexities);
  m.def("compare", &compare, py::arg("dense"), py::arg("compressed"),
        "Pairs what both evaluations hold, window by window. ValueError when a task was scored on "
        "another text, tokenizer, protocol or length.");
}

}  // namespace cupel::python
