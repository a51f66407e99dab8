#include "bindings.h"

namespace cupel::python {

namespace {

BootstrapOptions bootstrap_options(int64_t draws, uint64_t seed, double level,
                                   std::vector<int64_t> strata, std::vector<int64_t> clusters) {
  return {draws, seed, level, std::move(strata), std::move(clusters)};
}

// Runs a bootstrap without the GIL; Ctrl-C stops it.
template <typename Body>
auto bootstrap(const Body& body) {
  const ProgressReporter signals(make_progress(py::none()));
  const WorkScope working([&] { signals.report({.stage = "score", .name = "bootstrap"}); });
  py::gil_scoped_release release;
  return body();
}

// A vector<char> would be a list of one-letter strings to pybind11.
std::vector<char> as_flags(const std::vector<bool>& values) {
  return {values.begin(), values.end()};
}

void bind_intervals(py::module_& m) {
  py::class_<Interval>(m, "Interval")
      .def_readonly("low", &Interval::low)
      .def_readonly("high", &Interval::high)
      .def("__repr__",
           [](const Interval& i) { return c10::str("<Interval [", i.low, ", ", i.high, "]>"); });
  py::class_<Estimate>(m, "Estimate", "A number and its uncertainty.")
      .def_readonly("value", &Estimate::value)
      .def_readonly("standard_error", &Estimate::standard_error)
      .def_readonly("low", &Estimate::low, "of the confidence interval")
      .def_readonly("high", &Estimate::high, "of the confidence interval")
      .def("__repr__", [](const Estimate& e) {
        return c10::str("<Estimate ", e.value, " +- ", e.standard_error, " [", e.low, ", ", e.high,
                        "]>");
      });
  m.def("wilson", &wilson, py::arg("right"), py::arg("items"), py::arg("level") = 0.95,
        "Wilson's Interval for the proportion right / items.");
  m.def("quantile", &quantile, py::arg("values"), py::arg("q"),
        "The q-quantile, interpolated linearly as numpy does by default; q in [0, 1]. "
        "NumericalError for a value that is not finite.");
}

void bind_tests(py::module_& m) {
  py::class_<McNemar>(m, "McNemar", "Two-sided p-values of McNemar's test.")
      .def_readonly("right_to_wrong", &McNemar::right_to_wrong)
      .def_readonly("wrong_to_right", &McNemar::wrong_to_right)
      .def_readonly("exact", &McNemar::exact, "p of the binomial test")
      .def_readonly("mid_p", &McNemar::mid_p, "its mid-p, less conservative")
      .def_readonly("statistic", &McNemar::statistic, "chi-square with continuity correction")
      .def_readonly("corrected", &McNemar::corrected, "p of the statistic")
      .def_readonly("p", &McNemar::p, "exact below 25 discordant items, else corrected");
  m.def("mcnemar", &mcnemar, py::arg("right_to_wrong"), py::arg("wrong_to_right"),
        R"(Whether as many items became wrong as became right, two-sided.

Without any that did, every p is 1. Where as many went either way, the statistic is 0.

Returns:
    McNemar: .p (exact below 25 discordant items, else corrected), .exact .mid_p .statistic .corrected

Fagerland, Lydersen and Laake (2013), doi 10.1186/1471-2288-13-91.)");
  py::class_<Flips>(m, "Flips", "What became of each item. The four counts add up to `items`.")
      .def_readonly("right_to_wrong", &Flips::right_to_wrong)
      .def_readonly("wrong_to_right", &Flips::wrong_to_right)
      .def_readonly("changed_wrong", &Flips::changed_wrong, "wrong twice, by different answers")
      .def_readonly("same", &Flips::same, "right twice, or the same wrong answer")
      .def_readonly("items", &Flips::items)
      .def_property_readonly("net", &Flips::net, "the change of accuracy")
      .def_property_readonly("rate", &Flips::rate,
                             "(right_to_wrong + wrong_to_right) / items (arXiv 2407.09141)");
  m.def(
      "count_flips",
      [](const std::vector<bool>& dense_right, const std::vector<bool>& compressed_right,
         const std::vector<std::string>& dense_answers,
         const std::vector<std::string>& compressed_answers) {
        return count_flips(as_flags(dense_right), as_flags(compressed_right), dense_answers,
                           compressed_answers);
      },
      py::arg("dense_right"), py::arg("compressed_right"), py::arg("dense_answers"),
      py::arg("compressed_answers"),
      "Flips between two lists of verdicts (bool) and answers (str), one an item.");
  m.def("holm", &holm, py::arg("p"),
        "p-values adjusted for testing all of them at once, in the order given (Holm 1979).");
  m.def("minimum_detectable_effect", &minimum_detectable_effect, py::arg("items"),
        py::arg("discordant_rate"), py::arg("significance") = 0.05, py::arg("power") = 0.8,
        R"(The smallest difference of accuracy that a two-sided McNemar test is likely to find.

Solves items = (z_a sqrt(r) + z_b sqrt(r - d^2))^2 / d^2 for d, with r = discordant_rate and normal
quantiles z_a at 1 - significance / 2, z_b at power (Connor, Biometrics 43, 1987).

Args:
    items: How many are asked.
    discordant_rate: Share of them that changes between right and wrong, in (0, 1].

Returns:
    float: d, as a fraction of the items; inf when no difference is found so often.)");
}

void bind_bootstrap(py::module_& m) {
  py::class_<PairedBootstrap>(m, "PairedBootstrap", "Means of the same items under two models.")
      .def_readonly("items", &PairedBootstrap::items)
      .def_readonly("draws", &PairedBootstrap::draws)
      .def_readonly("dense", &PairedBootstrap::dense, "mean")
      .def_readonly("compressed", &PairedBootstrap::compressed, "mean")
      .def_readonly("difference", &PairedBootstrap::difference, "Estimate of compressed - dense")
      .def_readonly("ratio", &PairedBootstrap::ratio,
                    "Estimate of compressed / dense; NaN when the dense mean is 0");
  m.def(
      "paired_bootstrap",
      [](const std::vector<double>& dense, const std::vector<double>& compressed, int64_t draws,
         uint64_t seed, double level, std::vector<int64_t> strata, std::vector<int64_t> clusters) {
        const auto options =
            bootstrap_options(draws, seed, level, std::move(strata), std::move(clusters));
        return bootstrap([&] { return paired_bootstrap(dense, compressed, options); });
      },
      py::arg("dense"), py::arg("compressed"), py::arg("draws") = 10000, py::arg("seed") = 0,
      py::arg("level") = 0.95, py::arg("strata") = std::vector<int64_t>(),
      py::arg("clusters") = std::vector<int64_t>(),
      R"(Percentile bootstrap of the difference and the ratio of two models' means over the same items.

Items are drawn with replacement, both models' scores of an item together. The seed alone decides
the draws, not the number of threads.

Args:
    dense, compressed: A score of each item, in the same order.
    level: Of the intervals.
    strata: Labels (int), one an item: a draw has as many items of each as the data.
    clusters: Labels (int), one an item: items of one label are drawn together. Not with strata.

Returns:
    PairedBootstrap: .difference and .ratio, each .value .standard_error .low .high. Errors and
        intervals are NaN where no draw can differ from the data (one item, one cluster), the ratio's
        also when the dense mean of any draw is 0.

Raises:
    NumericalError: A score that is not finite.)");

  py::enum_<Match>(m, "Match", "Whether a compressed model keeps a fraction of the dense score.")
      .value("matching", Match::matching)
      .value("not_matching", Match::not_matching)
      .value("undecided", Match::undecided)
      .def("__str__", [](Match match) { return to_string(match); }, py::prepend());
  py::class_<MatchVerdict>(m, "MatchVerdict")
      .def_readonly("verdict", &MatchVerdict::verdict, "by the interval of `margin`")
      .def_readonly("score_matches", &MatchVerdict::score_matches,
                    "the paper's rule, on the mean scores alone")
      .def_readonly("fraction", &MatchVerdict::fraction)
      .def_readonly("dense", &MatchVerdict::dense, "mean score")
      .def_readonly("compressed", &MatchVerdict::compressed, "mean score")
      .def_readonly("margin", &MatchVerdict::margin, "Estimate of compressed - fraction * dense")
      .def("__repr__", [](const MatchVerdict& v) {
        return c10::str("<MatchVerdict ", to_string(v.verdict), ": ", v.compressed, " of ", v.dense,
                        ", fraction ", v.fraction, ">");
      });
  m.def(
      "matching", &matching, py::arg("dense"), py::arg("compressed"), py::arg("fraction") = 0.95,
      "LLM-KICK's rule for two scores, larger = better: compressed >= fraction * dense, to within "
      "rounding (arXiv 2310.01382).");
  m.def(
      "matching_verdict",
      [](const std::vector<double>& dense, const std::vector<double>& compressed, double fraction,
         int64_t draws, uint64_t seed, double level, std::vector<int64_t> strata,
         std::vector<int64_t> clusters) {
        const auto options =
            bootstrap_options(draws, seed, level, std::move(strata), std::move(clusters));
        return bootstrap([&] { return matching_verdict(dense, compressed, fraction, options); });
      },
      py::arg("dense"), py::arg("compressed"), py::arg("fraction") = 0.95, py::arg("draws") = 10000,
      py::arg("seed") = 0, py::arg("level") = 0.95, py::arg("strata") = std::vector<int64_t>(),
      py::arg("clusters") = std::vector<int64_t>(),
      R"(Whether a compressed model keeps `fraction` of the score, and whether the items suffice to say.

Args:
    dense, compressed: A score of each item, in the same order, not negative, larger = better.
    fraction: 1 - eps0 of LLM-KICK, in (0, 1].
    draws, seed, level, strata, clusters: As in paired_bootstrap.

Returns:
    MatchVerdict: .verdict is Match.matching when the interval of compressed - fraction * dense is all
        >= 0, Match.not_matching when it is all below 0, else Match.undecided. .score_matches is the
        paper's rule on the means alone.)");
}

void bind_losses(py::module_& m) {
  py::class_<PairedLoss>(m, "PairedLoss", "Losses of the same text under two models, by blocks.")
      .def_readonly("blocks", &PairedLoss::blocks)
      .def_readonly("tokens", &PairedLoss::tokens)
      .def_readonly("dense", &PairedLoss::dense, "nats per token")
      .def_readonly("compressed", &PairedLoss::compressed, "nats per token")
      .def_readonly("ln_ratio", &PairedLoss::ln_ratio,
                    "Estimate of compressed - dense, nats per token")
      .def_readonly("ratio", &PairedLoss::ratio, "Estimate of the perplexities' ratio")
      .def_readonly("correlation", &PairedLoss::correlation, "of the blocks' losses")
      .def_readonly("unpaired_standard_error", &PairedLoss::unpaired_standard_error,
                    "of ln_ratio, had the two texts been different ones");
  m.def("paired_loss", &paired_loss, py::arg("dense"), py::arg("compressed"), py::arg("tokens"),
        py::arg("level") = 0.95,
        R"(ln(perplexity ratio) = sum(compressed - dense) / sum(tokens), with its error over blocks.

The error is that of the ratio estimator (Cochran 1977, chapter 6), the interval Student's with
blocks - 1 degrees of freedom.

Args:
    dense, compressed: Summed nats of each block (a window, a document).
    tokens: Scored tokens of each block.
    level: Of the interval.

Returns:
    PairedLoss: .ln_ratio and .ratio, each .value .standard_error .low .high; .correlation
        .unpaired_standard_error. One block: errors, intervals and correlation are NaN.

Raises:
    NumericalError: A loss that is not finite.)");
  m.def("block_standard_error", &block_standard_error, py::arg("losses"), py::arg("tokens"),
        "Standard error of one model's nats per token, from each block's summed nats and scored "
        "tokens. NaN for one block.");
}

}  // namespace

void bind_statistics(py::module_& m) {
  bind_intervals(m);
  bind_tests(m);
  bind_bootstrap(m);
  bind_losses(m);
}

}  // namespace cupel::python
