#include "bindings.h"

namespace cupel::python {

namespace {

void bind_perplexity(py::module_& m) {
  py::class_<TokenModelInfo>(m, "TokenModelInfo", "What a token model says of itself.")
      .def_readonly("vocabulary", &TokenModelInfo::vocabulary)
      .def_readonly("max_length", &TokenModelInfo::max_length)
      .def_readonly("device", &TokenModelInfo::device)
      .def_readonly("dtype", &TokenModelInfo::dtype)
      .def_readonly("fingerprint", &TokenModelInfo::fingerprint, "SHA-256 of the weights")
      .def_readonly("has_states", &TokenModelInfo::has_states);

  py::class_<Perplexity>(m, "Perplexity", "A perplexity with everything needed to compare it.")
      .def_readonly("value", &Perplexity::value, "exp(loss)")
      .def_readonly("loss", &Perplexity::loss, "nats per scored token")
      .def_readonly("protocol", &Perplexity::protocol)
      .def_readonly("length", &Perplexity::length, "tokens a window")
      .def_readonly("windows", &Perplexity::windows)
      .def_readonly("tokens", &Perplexity::tokens, "in the whole text")
      .def_readonly("scored", &Perplexity::scored, "tokens that were predicted")
      .def_readonly("dropped", &Perplexity::dropped, "tokens of the tail that fill no window")
      .def_readonly("file", &Perplexity::file)
      .def_readonly("file_sha256", &Perplexity::file_sha256)
      .def_readonly("tokenizer", &Perplexity::tokenizer, "fingerprint")
      .def_readonly("model", &Perplexity::model)
      .def_readonly("window_losses", &Perplexity::window_losses, "mean nats of each window")
      .def_readonly("seconds", &Perplexity::seconds)
      .def("__repr__", [](const Perplexity& p) {
        return c10::str("<Perplexity ", p.value, " by ", p.protocol, ", ", p.windows,
                        " windows of ", p.length, ">");
      });

  m.def(
      "perplexity",
      [](const Model& model, const py::object& tokenizer, const py::object& file, int64_t length,
         const std::string& protocol, const py::object& progress) {
        const auto own = as_tokenizer(tokenizer);
        const std::string path = as_path(file);
        const PerplexityOptions options{length, protocol, make_progress(progress)};
        py::gil_scoped_release release;
        NativeTokenModel native(model);
        return perplexity(native, *own, path, options);
      },
      py::arg("model"), py::arg("tokenizer"), py::arg("file"), py::arg("length") = 0,
      py::arg("protocol") = "gptq", py::arg("progress") = py::none(),
      R"(Perplexity of a text file by the protocol of the GPTQ, SparseGPT and Wanda papers.

The text is encoded whole (special tokens once) and cut into disjoint windows; the tail is dropped.

Args:
    file: UTF-8 text.
    length: Tokens a window; 0 = min(2048, the model's positions).
    protocol: "gptq".

Returns:
    Perplexity: .value .loss .windows .tokens .dropped .protocol ...

Raises:
    ValueError: No whole window, or more tokens than the model has positions.
    NumericalError: A log-likelihood that is not finite.)");
}

void bind_scorer(py::module_& m) {
  py::class_<LogLikelihood>(m, "LogLikelihood", "How likely a continuation is after its context.")
      .def_readonly("value", &LogLikelihood::value, "nats, summed over the scored tokens")
      .def_readonly("is_greedy", &LogLikelihood::is_greedy, "every token was the likeliest one")
      .def_readonly("tokens", &LogLikelihood::tokens, "scored tokens")
      .def_readonly("flags", &LogLikelihood::flags, "'boundary_shift': a token spans the join");
  py::class_<Generation>(m, "Generation", "A greedy continuation.")
      .def_readonly("text", &Generation::text)
      .def_readonly("tokens", &Generation::tokens)
      .def_readonly("finish", &Generation::finish, "'stop', 'end' or 'length'");

  // Keeps the model and the tokenizer alive beside the engine that refers to them.
  struct OwningScorer {
    std::shared_ptr<Model> model;
    std::shared_ptr<Tokenizer> tokenizer;
    NativeTokenModel tokens;
    ModelScorer scorer;
    OwningScorer(std::shared_ptr<Model> m, std::shared_ptr<Tokenizer> t)
        : model(std::move(m)),
          tokenizer(std::move(t)),
          tokens(*model),
          scorer(tokens, *tokenizer, {.progress = make_progress(py::none())}) {}
  };
  py::class_<OwningScorer>(m, "ModelScorer", R"(Scores text with a model and a tokenizer.

A token that spans the join of context and continuation is scored with everything after it, and the
result is flagged "boundary_shift". Nothing is cut silently.)")
      .def(py::init([](std::shared_ptr<Model> model, const py::object& tokenizer) {
             return std::make_unique<OwningScorer>(std::move(model), as_tokenizer(tokenizer));
           }),
           py::arg("model"), py::arg("tokenizer"))
      .def(
          "log_likelihood",
          [](OwningScorer& self, const std::vector<std::pair<std::string, std::string>>& requests) {
            return self.scorer.log_likelihood(requests);
          },
          py::arg("requests"), py::call_guard<py::gil_scoped_release>(),
          "log p(continuation | context) of (context, continuation) pairs: list[LogLikelihood].")
      .def(
          "rolling_log_likelihood",
          [](OwningScorer& self, const std::vector<std::string>& texts) {
            return self.scorer.rolling_log_likelihood(texts);
          },
          py::arg("texts"), py::call_guard<py::gil_scoped_release>(),
          "log p(text) of whole texts, each token scored once: list[LogLikelihood].")
      .def(
          "generate",
          [](OwningScorer& self, const std::vector<std::string>& prompts, int64_t max_new_tokens,
             const std::vector<std::string>& stop) {
            std::vector<GenerationRequest> requests;
            for (const auto& prompt : prompts) requests.push_back({prompt, max_new_tokens, stop});
            return self.scorer.generate(requests);
          },
          py::arg("prompts"), py::arg("max_new_tokens") = 64,
          py::arg("stop") = std::vector<std::string>(), py::call_guard<py::gil_scoped_release>(),
          "Greedy continuations: list[Generation].");
}

}  // namespace

void bind_eval(py::module_& m) {
  bind_perplexity(m);
  bind_scorer(m);

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
      [](const Model& model, const py::object& tokenizer, const std::vector<std::string>& tasks,
         const py::object& data, const py::object& text, int64_t length,
         const std::string& protocol, const py::object& progress) {
        const auto own = as_tokenizer(tokenizer);
        const EvaluateOptions options{data.is_none() ? "" : as_path(data),
                                      text.is_none() ? "" : as_path(text), length, protocol,
                                      make_progress(progress)};
        py::gil_scoped_release release;
        return evaluate(model, *own, tasks, options);
      },
      py::arg("model"), py::arg("tokenizer"), py::arg("tasks"), py::arg("data") = py::none(),
      py::arg("text") = py::none(), py::arg("length") = 0, py::arg("protocol") = "gptq",
      py::arg("progress") = py::none(),
      R"(Runs tasks on a model.

Args:
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
