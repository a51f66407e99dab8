#include "bindings.h"

namespace cupel::python {

namespace {

// The arguments that both forms of evaluate() share.
EvaluateOptions make_options(const py::object& data, const py::object& text, int64_t length,
                             const std::string& protocol, int64_t stride, int64_t limit,
                             const py::object& record, bool resume, uint64_t seed,
                             const py::object& progress) {
  const auto path = [](const py::object& value) {
    return value.is_none() ? std::string() : as_path(value);
  };
  return {.data = path(data),
          .text = path(text),
          .length = length,
          .protocol = protocol,
          .stride = stride,
          .limit = limit,
          .record = path(record),
          .resume = resume,
          .seed = seed,
          .progress = make_progress(progress)};
}

// The result for Python; `against` becomes its .comparison.
template <typename Evaluate>
py::object evaluated(const py::object& against, Evaluate&& run) {
  std::optional<EvalResult> dense;
  if (!against.is_none()) dense = against.cast<EvalResult>();
  EvalResult result;
  std::optional<Comparison> comparison;
  {
    const py::gil_scoped_release release;
    result = run();
    if (dense) comparison = compare(*dense, result);
  }
  py::object made = py::cast(std::move(result));
  if (comparison) made.attr("comparison") = py::cast(*comparison);
  return made;
}

const std::vector<ItemScore>& items_of(const EvalResult& result, const std::string& task,
                                       const std::optional<std::string>& protocol) {
  const auto found = result.items.find(task);
  if (found == result.items.end()) throw py::key_error(task);
  const auto manifest = result.manifests.find(task);
  std::string name = found->second.begin()->first;
  if (manifest != result.manifests.end()) name = manifest->second.protocols.front();
  const auto scores = found->second.find(protocol.value_or(name));
  if (scores == found->second.end()) throw py::key_error(*protocol);
  return scores->second;
}

void bind_result(py::module_& m) {
  py::class_<RunManifest>(m, "RunManifest", "Everything that decides the numbers of a task's run.")
      .def_readonly("cupel", &RunManifest::cupel, "version")
      .def_readonly("task", &RunManifest::task)
      .def_readonly("task_version", &RunManifest::task_version)
      .def_readonly("protocols", &RunManifest::protocols)
      .def_readonly("options", &RunManifest::options)
      .def_readonly("data_file", &RunManifest::data_file, "base name")
      .def_readonly("data_sha256", &RunManifest::data_sha256)
      .def_readonly("items", &RunManifest::items, "that ran")
      .def_readonly("items_sha256", &RunManifest::items_sha256, "of their ids")
      .def_readonly("requests_sha256", &RunManifest::requests_sha256, "of the first requests")
      .def_readonly("tokenizer", &RunManifest::tokenizer, "fingerprint")
      .def_readonly("model", &RunManifest::model, "fingerprint")
      .def_readonly("dtype", &RunManifest::dtype)
      .def_readonly("device", &RunManifest::device)
      .def_readonly("vocabulary", &RunManifest::vocabulary)
      .def_readonly("scorer", &RunManifest::scorer, "settings")
      .def_readonly("seed", &RunManifest::seed)
      .def_readonly("limit", &RunManifest::limit, "0 = all items")
      .def("to_json", &RunManifest::to_json);
  py::class_<EvalRun>(m, "EvalRun", "What this process did for a result.")
      .def_readonly("seconds", &EvalRun::seconds)
      .def_readonly("tokens_run", &EvalRun::tokens_run)
      .def_readonly("tokens_shared", &EvalRun::tokens_shared, "saved by common beginnings")
      .def_readonly("items_recorded", &EvalRun::items_recorded, "that records held already")
      .def_readonly("dropped_lines", &EvalRun::dropped_lines, "of half-written batches, run again")
      .def_readonly("notes", &EvalRun::notes);
  py::class_<EvalResult> result(m, "EvalResult", py::dynamic_attr(),
                                R"(The outcome of an evaluation.

.comparison is the Comparison with the result given as `against`, or None.)");
  result.attr("comparison") = py::none();
  result.def_readonly("model", &EvalResult::model)
      .def_readonly("tokenizer", &EvalResult::tokenizer, "fingerprint")
      .def_readonly("settings", &EvalResult::settings, "of the scorer")
      .def_readonly("metrics", &EvalResult::metrics, "metrics[task][protocol][metric]")
      .def_readonly("perplexities", &EvalResult::perplexities)
      .def_readonly("manifests", &EvalResult::manifests, "task -> RunManifest")
      .def_readonly("run", &EvalResult::run, "EvalRun")
      .def("items", &items_of, py::arg("task"), py::arg("protocol") = py::none(),
           "list[ItemScore] of a task by one of its protocols; None = its first. KeyError for what "
           "did not run.")
      .def("to_json", &EvalResult::to_json)
      .def("to_markdown", &EvalResult::to_markdown, "A table of the metrics over all items.")
      .def(
          "to_pandas",
          [](const py::object& self, bool items) {
            return py::module_::import("cupel._results").attr("to_pandas")(self, items);
          },
          py::arg("items") = false,
          "A pandas.DataFrame with a row a metric, or with items=True a row an item.")
      .def_static("from_json", &EvalResult::from_json, py::arg("text"),
                  py::arg("file") = "scores.json",
                  "Reads what to_json() wrote. FormatError otherwise.");
}

void bind_comparison(py::module_& m) {
  py::class_<PairedPerplexity>(m, "PairedPerplexity",
                               "A perplexity of a compressed model beside its dense one.")
      .def_readonly("task", &PairedPerplexity::task)
      .def_readonly("protocol", &PairedPerplexity::protocol)
      .def_readonly("blocks", &PairedPerplexity::blocks, "windows or documents")
      .def_readonly("dense", &PairedPerplexity::dense)
      .def_readonly("compressed", &PairedPerplexity::compressed)
      .def_readonly("ratio", &PairedPerplexity::ratio)
      .def_readonly("ratio_low", &PairedPerplexity::ratio_low)
      .def_readonly("ratio_high", &PairedPerplexity::ratio_high)
      .def_readonly("loss_difference", &PairedPerplexity::loss_difference, "nats per token")
      .def_readonly("standard_error", &PairedPerplexity::standard_error,
                    "of loss_difference, paired over blocks")
      .def_readonly("low", &PairedPerplexity::low, "of the interval of loss_difference")
      .def_readonly("high", &PairedPerplexity::high);
  py::class_<PairedTask>(m, "PairedTask", "One value of a task's items under two models.")
      .def_readonly("task", &PairedTask::task)
      .def_readonly("protocol", &PairedTask::protocol)
      .def_readonly("metric", &PairedTask::metric)
      .def_readonly("items", &PairedTask::items)
      .def_readonly("dense", &PairedTask::dense, "mean")
      .def_readonly("compressed", &PairedTask::compressed, "mean")
      .def_readonly("difference", &PairedTask::difference, "compressed - dense")
      .def_readonly("standard_error", &PairedTask::standard_error)
      .def_readonly("low", &PairedTask::low, "of the interval of the difference")
      .def_readonly("high", &PairedTask::high)
      .def_readonly("p", &PairedTask::p, "of McNemar's test; NaN unless all values are 0 or 1")
      .def_readonly("p_holm", &PairedTask::p_holm, "adjusted for all tests of the comparison")
      .def_readonly("flips", &PairedTask::flips, "Flips; answers are the items' predictions")
      .def_readonly("minimum_detectable_effect", &PairedTask::minimum_detectable_effect)
      .def_readonly("verdict", &PairedTask::verdict, "'matching', 'not matching' or 'undecided'");
  py::class_<Comparison>(m, "Comparison", "Two evaluations of the same items.")
      .def_readonly("perplexities", &Comparison::perplexities)
      .def_readonly("tasks", &Comparison::tasks)
      .def_readonly("unpaired", &Comparison::unpaired, "tasks that one side alone has")
      .def_readonly("notes", &Comparison::notes)
      .def("to_json", &Comparison::to_json)
      .def("to_markdown", &Comparison::to_markdown);
  m.def(
      "compare",
      [](const EvalResult& dense, const EvalResult& compressed, uint64_t seed, int64_t draws,
         double matching, double level) {
        return compare(dense, compressed,
                       {.seed = seed, .draws = draws, .matching = matching, .level = level});
      },
      py::arg("dense"), py::arg("compressed"), py::kw_only(), py::arg("seed") = 0,
      py::arg("draws") = 10000, py::arg("matching") = 0.95, py::arg("level") = 0.95,
      py::call_guard<py::gil_scoped_release>(),
      R"(Pairs what both evaluations hold, item by item and block by block.

Args:
    seed, draws: Of the bootstrap.
    matching: Share of the dense score that a matching model keeps.
    level: Of confidence intervals.

Returns:
    Comparison

Raises:
    ValueError: A task was not run alike; names the first difference.)");
}

}  // namespace

void bind_evaluate(py::module_& m) {
  bind_result(m);
  bind_comparison(m);
  // The form with a scorer comes first: anything else is taken for a model.
  m.def(
      "evaluate",
      [](const std::shared_ptr<Scorer>& scorer, const std::vector<std::string>& tasks,
         const py::object& data, const py::object& text, int64_t length,
         const std::string& protocol, int64_t stride, int64_t limit, const py::object& record,
         bool resume, uint64_t seed, const py::object& against, const py::object& progress) {
        const EvaluateOptions options = make_options(data, text, length, protocol, stride, limit,
                                                     record, resume, seed, progress);
        return evaluated(against, [&] { return evaluate(*scorer, tasks, options); });
      },
      py::arg("scorer"), py::arg("tasks"), py::kw_only(), py::arg("data") = py::none(),
      py::arg("text") = py::none(), py::arg("length") = 0, py::arg("protocol") = "gptq",
      py::arg("stride") = 0, py::arg("limit") = 0, py::arg("record") = py::none(),
      py::arg("resume") = false, py::arg("seed") = 0, py::arg("against") = py::none(),
      py::arg("progress") = py::none(),
      "The same with a cupel.Scorer; perplexity takes a ModelScorer.");
  const ScorerOptions defaults;
  m.def(
      "evaluate",
      [](const py::object& model, const py::object& tokenizer,
         const std::vector<std::string>& tasks, const py::object& data, const py::object& text,
         int64_t length, const std::string& protocol, int64_t stride, int64_t limit,
         const py::object& record, bool resume, uint64_t seed, const py::object& against,
         const py::object& progress, const std::string& boundary, const std::string& bos,
         const std::string& over_long, bool share_prefixes, int64_t verify_prefix,
         int64_t batch_tokens) {
        const auto tokens = as_token_model(model);
        const auto own = as_tokenizer(tokenizer);
        EvaluateOptions options = make_options(data, text, length, protocol, stride, limit, record,
                                               resume, seed, progress);
        options.scorer.boundary = boundary;
        options.scorer.bos = bos;
        options.scorer.over_long = over_long;
        options.scorer.share_prefixes = share_prefixes;
        options.scorer.verify_prefix = verify_prefix;
        options.scorer.batch_tokens = batch_tokens;
        return evaluated(against, [&] { return evaluate(*tokens, *own, tasks, options); });
      },
      py::arg("model"), py::arg("tokenizer"), py::arg("tasks"), py::kw_only(),
      py::arg("data") = py::none(), py::arg("text") = py::none(), py::arg("length") = 0,
      py::arg("protocol") = "gptq", py::arg("stride") = 0, py::arg("limit") = 0,
      py::arg("record") = py::none(), py::arg("resume") = false, py::arg("seed") = 0,
      py::arg("against") = py::none(), py::arg("progress") = py::none(),
      py::arg("boundary") = defaults.boundary, py::arg("bos") = defaults.bos,
      py::arg("over_long") = defaults.over_long,
      py::arg("share_prefixes") = defaults.share_prefixes,
      py::arg("verify_prefix") = defaults.verify_prefix,
      py::arg("batch_tokens") = defaults.batch_tokens,
      R"(Runs tasks on a model.

Args:
    model: A cupel.Model, a cupel.TokenModel, or a causal language model of transformers.
    tokenizer: cupel's or any Hugging Face tokenizer.
    tasks: Each "name" or "name:key=value,key=value", e.g. "perplexity:file=wiki.test.raw" or
        "multiple_choice:file=questions.jsonl".
    data: Folder of data sets (wikitext2/wiki.test.raw ...).
    text: Text for "perplexity" when the task names no file.
    length, protocol, stride: Of the perplexity, see perplexity().
    limit: The first items (windows, documents) of each task; 0 = all.
    record: Folder where each task writes what it has, batch by batch.
    resume: Go on with the records that are there; they must have begun in the same way.
    seed: Of sampling.
    against: The EvalResult of the dense model: the result's .comparison is compare(against, result).
    progress: Called with a Progress, a step an item; False stops the call.
    boundary, bos, over_long, share_prefixes, verify_prefix, batch_tokens: See ModelScorer.

Returns:
    EvalResult

Raises:
    ValueError: An unknown task or option; a record that exists, or that began in another way.
    FormatError: Bad data, or a damaged record.
    NumericalError: A score that is not finite; names task and item.)");
}

}  // namespace cupel::python
