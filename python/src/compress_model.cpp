#include "bindings.h"

namespace cupel::python {

namespace {

CompressOptions make_options(const std::string& propagation, const std::vector<std::string>& skip,
                             const std::vector<std::string>& only, bool keep_tensors,
                             bool measure_loss, const py::object& progress) {
  return {propagation, skip, only, keep_tensors, measure_loss, make_progress(progress)};
}

}  // namespace

void bind_compress_model(py::module_& m) {
  py::class_<CompressionResult>(m, "CompressionResult", "What compress() did.")
      .def_readonly("method", &CompressionResult::method)
      .def_readonly("propagation", &CompressionResult::propagation)
      .def_readonly("calibration_hash", &CompressionResult::calibration_hash)
      .def_readonly("layers", &CompressionResult::layers, "list[LayerResult], in model order")
      .def_readonly("skipped", &CompressionResult::skipped, "linear layers left as they were")
      .def_readonly("seconds", &CompressionResult::seconds)
      .def_property_readonly("weights", &CompressionResult::weights, "weights in those layers")
      .def_property_readonly("sparsity", &CompressionResult::sparsity, "zeros among them")
      .def_property_readonly("packed_bytes", &CompressionResult::packed_bytes,
                             "size of those layers if packed (computed)")
      .def("masks", &CompressionResult::masks,
           "dict: layer name -> [out, in] bool, true = keep. ValueError when there are none.")
      .def("to_json", &CompressionResult::to_json)
      .def("__repr__", [](const CompressionResult& r) {
        return c10::str("<CompressionResult ", r.method, ", ", r.layers.size(), " layers, sparsity ",
                        r.sparsity(), ">");
      });

  m.def(
      "compress",
      [](Model& model, const py::object& calibration, const Compressor& compressor,
         const std::string& propagation, const std::vector<std::string>& skip,
         const std::vector<std::string>& only, bool keep_tensors, bool measure_loss,
         const py::object& progress) {
        const Calibration tokens = as_calibration(calibration);
        const auto options =
            make_options(propagation, skip, only, keep_tensors, measure_loss, progress);
        py::gil_scoped_release release;
        return compress(model, tokens, compressor, options);
      },
      py::arg("model"), py::arg("calibration"), py::arg("compressor"),
      py::arg("propagation") = "staged", py::arg("skip") = std::vector<std::string>(),
      py::arg("only") = std::vector<std::string>(), py::arg("keep_tensors") = false,
      py::arg("measure_loss") = true, py::arg("progress") = py::none(),
      R"(Compresses every linear layer inside the blocks of a model, in place, block by block.

Args:
    model: From load_model.
    calibration: int64 [samples, length], a list of 1-D tensors, or None for methods that need no
        statistics (losses are then None).
    compressor: Prune, Rtn, or your own Compressor.
    propagation: "staged" (inputs from everything before as already compressed), "block" (the
        papers' code) or "dense".
    skip: Layers to leave alone: exact names, globs ("*.mlp.*") or "re:<pattern>". One that matches
        nothing is an error.
    only: When not empty, only the layers that match.
    keep_tensors: Keep weights, codes and scales in the result as well.
    measure_loss: Collect what loss and relative_error need (a Gram matrix a layer).
    progress: Function of a Progress; returning False cancels (KeyboardInterrupt). Ctrl-C works.

Returns:
    CompressionResult

Raises:
    ValueError, NumericalError: As the compressor; the model is then as it was before.)");
  m.def(
      "compress_checkpoint",
      [](const py::object& input, const py::object& calibration, const Compressor& compressor,
         const py::object& output, const std::string& propagation,
         const std::vector<std::string>& skip, const std::vector<std::string>& only,
         bool measure_loss, const std::string& dtype, const std::string& device,
         const std::string& format, const py::object& progress) {
        const Calibration tokens = as_calibration(calibration);
        const auto options = make_options(propagation, skip, only, false, measure_loss, progress);
        const std::string from = as_path(input), to = as_path(output);
        py::gil_scoped_release release;
        return compress_checkpoint(from, tokens, compressor, to, options, {dtype, device, true},
                                   {format});
      },
      py::arg("input_dir"), py::arg("calibration"), py::arg("compressor"), py::arg("output_dir"),
      py::arg("propagation") = "staged", py::arg("skip") = std::vector<std::string>(),
      py::arg("only") = std::vector<std::string>(), py::arg("measure_loss") = true,
      py::arg("dtype") = "auto", py::arg("device") = "cpu", py::arg("format") = "dense",
      py::arg("progress") = py::none(),
      R"(compress() from folder to folder with one block in memory at a time.

Args:
    input_dir: A Hugging Face model folder.
    output_dir: Made when absent; must not hold weight files. Nothing is visible there before all of
        it is done.
    dtype, device: As in load_model.
    format: As in save_model; for "pack-quantized" the method must quantize every layer that is
        compressed.

The other arguments are those of compress().)");
  m.def("matches_layer", &matches_layer, py::arg("pattern"), py::arg("name"),
        "Does an exact name, glob or 're:' pattern choose the layer?");
}

}  // namespace cupel::python
