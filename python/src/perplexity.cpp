#include "bindings.h"

namespace cupel::python {

namespace {

void bind_perplexity_result(py::module_& m) {
  py::class_<Perplexity>(m, "Perplexity", "A perplexity with everything needed to compare it.")
      .def_readonly("value", &Perplexity::value, "exp(loss)")
      .def_readonly("loss", &Perplexity::loss, "nats per scored token")
      .def_readonly("standard_error", &Perplexity::standard_error,
                    "of loss, over blocks (NaN for a single one)")
      .def_readonly("protocol", &Perplexity::protocol)
      .def_readonly("length", &Perplexity::length, "tokens a window")
      .def_readonly("stride", &Perplexity::stride, "tokens between the starts of two windows")
      .def_readonly("bos", &Perplexity::bos, "the option")
      .def_readonly("windows", &Perplexity::windows)
      .def_readonly("tokens", &Perplexity::tokens, "in the whole text")
      .def_readonly("scored", &Perplexity::scored, "tokens that were predicted")
      .def_readonly("dropped", &Perplexity::dropped, "tokens of the tail that fill no window")
      .def_readonly("documents", &Perplexity::documents)
      .def_readonly("skipped", &Perplexity::skipped, "documents without a token to score")
      .def_readonly("words", &Perplexity::words, "of the text as it stands in the file")
      .def_readonly("bytes", &Perplexity::bytes, "of the text as it stands in the file")
      .def_readonly("word_perplexity", &Perplexity::word_perplexity, "NaN except for 'harness'")
      .def_readonly("byte_perplexity", &Perplexity::byte_perplexity, "NaN except for 'harness'")
      .def_readonly("bits_per_byte", &Perplexity::bits_per_byte, "NaN except for 'harness'")
      .def_readonly("window_losses", &Perplexity::window_losses,
                    "mean nats of each block: a window, for 'harness' a document")
      .def_readonly("window_tokens", &Perplexity::window_tokens, "scored tokens of each block")
      .def_readonly("file", &Perplexity::file)
      .def_readonly("file_sha256", &Perplexity::file_sha256)
      .def_readonly("tokenizer", &Perplexity::tokenizer, "fingerprint")
      .def_readonly("model", &Perplexity::model)
      .def_readonly("seconds", &Perplexity::seconds)
      .def_readonly("notes", &Perplexity::notes, "what else happened to the tokens")
      .def("__repr__", [](const Perplexity& p) {
        return c10::str("<Perplexity ", p.value, " by ", p.protocol, ", ", p.windows,
                        " windows of ", p.length, ">");
      });
}

void bind_divergence_result(py::module_& m) {
  py::class_<Divergence>(m, "Divergence",
                         "How far a compressed model's predictions are from the dense one's.")
      .def_readonly("mean_kl", &Divergence::mean_kl, "KL(dense || compressed), nats per token")
      .def_readonly("kl_standard_error", &Divergence::kl_standard_error, "of mean_kl, over windows")
      .def_readonly("median_kl", &Divergence::median_kl)
      .def_readonly("p99_kl", &Divergence::p99_kl)
      .def_readonly("max_kl", &Divergence::max_kl)
      .def_readonly("top1_agreement", &Divergence::top1_agreement,
                    "share of tokens where both have the same likeliest one")
      .def_readonly("delta_p_mean", &Divergence::delta_p_mean,
                    "probability of the true token, compressed - dense")
      .def_readonly("delta_p_rms", &Divergence::delta_p_rms)
      .def_readonly("dense_loss", &Divergence::dense_loss, "nats per scored token")
      .def_readonly("compressed_loss", &Divergence::compressed_loss)
      .def_readonly("log_ratio", &Divergence::log_ratio, "ln(perplexity ratio), compressed / dense")
      .def_readonly("log_ratio_standard_error", &Divergence::log_ratio_standard_error,
                    "paired, over windows")
      .def_readonly("length", &Divergence::length, "tokens a window")
      .def_readonly("windows", &Divergence::windows)
      .def_readonly("tokens", &Divergence::tokens, "in the whole text")
      .def_readonly("scored", &Divergence::scored, "tokens that were predicted")
      .def_readonly("dropped", &Divergence::dropped, "tokens of the tail that fill no window")
      .def_readonly("window_kl", &Divergence::window_kl, "mean of each window")
      .def_readonly("window_log_ratios", &Divergence::window_log_ratios)
      .def_readonly("file", &Divergence::file)
      .def_readonly("file_sha256", &Divergence::file_sha256)
      .def_readonly("tokenizer", &Divergence::tokenizer, "fingerprint")
      .def_readonly("dense", &Divergence::dense)
      .def_readonly("compressed", &Divergence::compressed)
      .def_readonly("seconds", &Divergence::seconds)
      .def("__repr__", [](const Divergence& d) {
        return c10::str("<Divergence ", d.mean_kl, " nats a token, ", d.windows, " windows of ",
                        d.length, ">");
      });
}

}  // namespace

void bind_perplexity(py::module_& m) {
  bind_perplexity_result(m);
  bind_divergence_result(m);

  m.def(
      "perplexity",
      [](const py::object& model, const py::object& tokenizer, const py::object& file,
         int64_t length, const std::string& protocol, int64_t stride, const std::string& bos,
         const py::object& progress) {
        const auto tokens = as_token_model(model);
        const auto own = as_tokenizer(tokenizer);
        const std::string path = as_path(file);
        const PerplexityOptions options{.length = length,
                                        .protocol = protocol,
                                        .stride = stride,
                                        .bos = bos,
                                        .progress = make_progress(progress)};
        py::gil_scoped_release release;
        return perplexity(*tokens, *own, path, options);
      },
      py::arg("model"), py::arg("tokenizer"), py::arg("file"), py::arg("length") = 0,
      py::arg("protocol") = "gptq", py::arg("stride") = 0, py::arg("bos") = "auto",
      py::arg("progress") = py::none(),
      R"(Perplexity of the text of a file. The protocols differ by factors: the result names its own.

"gptq", of the GPTQ, SparseGPT and Wanda papers: the text is encoded whole, cut into disjoint
windows, the tail dropped; all but the first token of each window are scored.
"harness", lm-eval's wikitext task: each document is detokenised, encoded by itself and scored in
rolling windows; also gives perplexity per word and per byte.
"llamacpp", llama.cpp's perplexity tool: disjoint windows of 512, of which the second half is scored.
"strided", of Hugging Face's documentation: windows of length every stride tokens, each token after
the first scored once.

Args:
    model: cupel.Model or another token model.
    tokenizer: cupel's own or any Hugging Face tokenizer.
    file: UTF-8 text; for "harness" also .jsonl or .jsonl.gz whose "text" is a document each, or
        wiki.*.raw, an article each.
    length: Tokens a window; 0 = min(2048, the model's positions), "llamacpp" min(512, ...),
        "harness" all the model's positions.
    stride: Of "strided" alone; 0 = length / 2.
    bos: Begin-of-sequence token: "auto" as the tokenizer's configuration says, "always", "never".

Returns:
    Perplexity: .value .loss .standard_error .windows .tokens .scored .dropped .protocol ...

Raises:
    ValueError: Too short a text, more tokens than the model has positions, an unknown protocol.
    NumericalError: A log-likelihood that is not finite; names the window or document.)");

  m.def(
      "divergence",
      [](const py::object& dense, const py::object& compressed, const py::object& tokenizer,
         const py::object& file, int64_t length, const py::object& progress) {
        const auto first = as_token_model(dense), second = as_token_model(compressed);
        const auto own = as_tokenizer(tokenizer);
        const std::string path = as_path(file);
        const DivergenceOptions options{.length = length, .progress = make_progress(progress)};
        py::gil_scoped_release release;
        return divergence(*first, *second, *own, path, options);
      },
      py::arg("dense"), py::arg("compressed"), py::arg("tokenizer"), py::arg("file"),
      py::arg("length") = 0, py::arg("progress") = py::none(),
      R"(How far a compressed model's next-token predictions are from the dense one's.

Both models run side by side over the windows of the perplexity protocol "gptq"; nothing is stored.

Args:
    dense, compressed: cupel.Model or other token models, of one vocabulary.
    tokenizer: cupel's own or any Hugging Face tokenizer.
    file: UTF-8 text.
    length: Tokens a window; 0 = min(2048, the positions that both models have).

Returns:
    Divergence: .mean_kl .p99_kl .top1_agreement .delta_p_rms .log_ratio ...; nats.

Raises:
    ValueError: Two vocabularies, no whole window, more tokens than a model has positions.
    NumericalError: A number that is not finite; names the window.)");
}

}  // namespace cupel::python
