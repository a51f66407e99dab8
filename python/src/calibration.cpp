#include <torch/csrc/autograd/python_variable.h>

#include "bindings.h"

namespace cupel::python {

Calibration as_calibration(const py::object& tokens) {
  if (tokens.is_none()) return {};
  if (py::isinstance<Calibration>(tokens)) return tokens.cast<Calibration>();
  if (THPVariable_Check(tokens.ptr())) return Calibration(tokens.cast<torch::Tensor>());
  std::vector<torch::Tensor> samples;
  for (const py::handle& sample : tokens) {
    samples.push_back(
        THPVariable_Check(sample.ptr())
            ? sample.cast<torch::Tensor>()
            : py::module_::import("torch").attr("as_tensor")(sample).cast<torch::Tensor>());
  }
  return Calibration(std::move(samples));
}

void bind_calibration(py::module_& m) {
  py::enum_<Needs>(m, "Needs", py::arithmetic(), "Statistics of a layer's inputs; combine with |.")
      .value("none", Needs::none)
      .value("sum", Needs::sum)
      .value("sq_norm", Needs::sq_norm)
      .value("gram", Needs::gram, "includes sum and sq_norm")
      .def("__or__", [](Needs a, Needs b) { return a | b; });

  py::class_<Calibration>(m, "Calibration", "Token ids for calibration, one tensor a sample.")
      .def(py::init([](const py::object& tokens) { return as_calibration(tokens); }),
           py::arg("tokens"))
      .def_readonly("samples", &Calibration::samples)
      .def_property_readonly("tokens", &Calibration::tokens)
      .def("hash", &Calibration::hash, "SHA-256 over the number of samples, lengths and ids.");

  m.def(
      "sample_windows",
      [](const py::object& path, const py::object& tokenizer, int64_t samples, int64_t length,
         int64_t seed, const std::string& field) {
        const std::string file = as_path(path);
        const auto own = as_tokenizer(tokenizer);
        py::gil_scoped_release release;
        const Calibration made = sample_windows(
            file, *own, {.samples = samples, .length = length, .seed = seed, .field = field});
        return at::stack(made.samples);
      },
      py::arg("path"), py::arg("tokenizer"), py::arg("samples") = 128, py::arg("length") = 2048,
      py::arg("seed") = 0, py::arg("field") = "text",
      R"(Calibration windows, drawn as the GPTQ, SparseGPT and Wanda code draws them.

Args:
    path: .txt (encoded whole), .jsonl or .jsonl.gz (documents longer than `length`).
    tokenizer: cupel's or any Hugging Face tokenizer.
    samples: Number of windows.
    length: Tokens a window.
    seed: Of Python's random.seed; the same windows come out.
    field: The text field of a .jsonl record.

Returns:
    int64 [samples, length]. Your own tensor, or a list of 1-D tensors, does as well.

Raises:
    ValueError: Too little text; says how much there is and how much is needed.
    FormatError: Invalid UTF-8, bad JSON (with its line), no such file.)");

  py::class_<InputStats>(m, "InputStats", R"(Un-normalised sums over a linear layer's inputs.

The accessors return true values while the largest |x| lies in [2^-20, 2^20]; outside of that they
return the sums of x / scale().)")
      .def(py::init<int64_t, Needs>(), py::arg("columns"), py::arg("needs") = Needs::gram)
      .def(
          "add",
          [](InputStats& stats, const torch::Tensor& x, int64_t sequences, const std::string& layer,
             int64_t first_sample, int64_t sample_tokens) {
            stats.add(x, sequences, {layer, first_sample, sample_tokens});
          },
          py::arg("x"), py::arg("sequences") = 1, py::arg("layer") = "",
          py::arg("first_sample") = 0, py::arg("sample_tokens") = 0,
          py::call_guard<py::gil_scoped_release>(),
          R"(Adds x [..., in]; leading dimensions count as tokens.

Args:
    x: Activations of any float dtype.
    sequences: How many sequences x holds.
    layer, first_sample, sample_tokens: For messages: the layer's name, the number of the first
        sample in x, and the tokens a sample (0 = all rows are of one).

Raises:
    NumericalError: A value that is not finite; names layer, sample, token and column.
    ValueError: Another width.)")
      .def("merge", &InputStats::merge, py::arg("other"), py::call_guard<py::gil_scoped_release>())
      .def("sum", &InputStats::sum, "[in] float32, sum over tokens of x")
      .def("sq_norm", &InputStats::sq_norm, "[in] float32, sum over tokens of x^2")
      .def("gram", &InputStats::gram, "[in, in] float32, sum over tokens of x x^T")
      .def("hessian", &InputStats::hessian, "[in, in] float32, 2 / tokens * gram()")
      .def("scale", &InputStats::scale)
      .def("tokens", &InputStats::tokens)
      .def("sequences", &InputStats::sequences)
      .def("dead_columns", &InputStats::dead_columns, "Columns that were zero in every token")
      .def_property_readonly("columns", &InputStats::columns)
      .def_property_readonly("needs", &InputStats::needs);
}

}  // namespace cupel::python
