#include "bindings.h"

namespace cupel::python {

namespace {

// What compress() and compress_checkpoint() have in common.
struct Arguments {
  Calibration calibration;
  std::shared_ptr<const Compressor> compressor;
  CompressOptions options;

  Arguments(const py::object& tokens, const py::object& method, const std::string& propagation,
            const std::vector<std::string>& skip, const std::vector<std::string>& only,
            const py::dict& overrides, const py::object& allocation, bool keep_zeros,
            const std::string& nan_policy, bool keep_tensors, bool measure_loss,
            const py::object& progress)
      : calibration(as_calibration(tokens)), compressor(as_compressor(method)) {
    options.propagation = propagation;
    options.skip = skip;
    options.only = only;
    for (const auto& [pattern, other] : overrides) {
      const auto object = py::reinterpret_borrow<py::object>(other);
      options.overrides.emplace_back(pattern.cast<std::string>(),
                                     object.is_none() ? nullptr : as_compressor(object));
    }
    options.allocation = as_allocation(allocation);
    options.keep_zeros = keep_zeros;
    options.nan_policy = parse_nan_policy(nan_policy);
    options.keep_tensors = keep_tensors;
    options.measure_loss = measure_loss;
    options.progress = make_progress(progress);
  }
};

}  // namespace

void bind_compress_model(py::module_& m) {
  py::class_<CompressionResult>(m, "CompressionResult", "What compress() did.")
      .def_readonly("method", &CompressionResult::method)
      .def_readonly("propagation", &CompressionResult::propagation)
      .def_readonly("calibration_hash", &CompressionResult::calibration_hash)
      .def_readonly("layers", &CompressionResult::layers, "list[LayerResult], in model order")
      .def_readonly("skipped", &CompressionResult::skipped, "linear layers left as they were")
      .def_readonly("allocation", &CompressionResult::allocation, "its name, or ''")
      .def_property_readonly(
          "plan",
          [](const CompressionResult& r) {
            py::list plan;
            for (const auto& layer : r.plan) {
              plan.append(py::dict(py::arg("name") = layer.name, py::arg("method") = layer.method,
                                   py::arg("prune_count") = layer.prune_count));
            }
            return plan;
          },
          "list of dict: name, method and prune_count (-1 = as the method says) of each layer")
      .def_property_readonly(
          "options", [](const CompressionResult& r) { return r.options_json; },
          "the method's options, as JSON")
      .def_readonly("seconds", &CompressionResult::seconds)
      .def_property_readonly("weights", &CompressionResult::weights, "weights in those layers")
      .def_property_readonly("sparsity", &CompressionResult::sparsity, "zeros among them")
      .def_property_readonly("packed_bytes", &CompressionResult::packed_bytes,
                             "size of those layers if packed (computed)")
      .def("masks", &CompressionResult::masks,
           "dict: layer name -> [out, in] bool, true = keep. ValueError when there are none.")
      .def("to_json", &CompressionResult::to_json)
      .def("__repr__", [](const CompressionResult& r) {
        return c10::str("<CompressionResult ", r.method, ", ", r.layers.size(),
                        " layers, sparsity ", r.sparsity(), ">");
      });

  m.def(
      "compress",
      [](Model& model, const py::object& calibration, const py::object& compressor,
         const std::string& propagation, const std::vector<std::string>& skip,
         const std::vector<std::string>& only, const py::dict& overrides,
         const py::object& allocation, bool keep_zeros, const std::string& nan_policy,
         bool keep_tensors, bool measure_loss, const py::object& progress) {
        const Arguments given(calibration, compressor, propagation, skip, only, overrides,
                              allocation, keep_zeros, nan_policy, keep_tensors, measure_loss,
                              progress);
        py::gil_scoped_release release;
        return compress(model, given.calibration, *given.compressor, given.options);
      },
      py::arg("model"), py::arg("calibration"), py::arg("compressor"),
      py::arg("propagation") = "staged", py::arg("skip") = std::vector<std::string>(),
      py::arg("only") = std::vector<std::string>(), py::arg("overrides") = py::dict(),
      py::arg("allocation") = py::none(), py::arg("keep_zeros") = false,
      py::arg("nan_policy") = "refuse", py::arg("keep_tensors") = false,
      py::arg("measure_loss") = true, py::arg("progress") = py::none(),
      R"(Compresses every linear layer inside the blocks of a model, in place, block by block.

Args:
    model: From load_model.
    calibration: int64 [samples, length], a list of 1-D tensors, or None for methods that need no
        statistics (losses are then None).
    compressor: Prune, SparseGpt, Rtn, Gptq, your own Compressor, or a list of them (Chain).
    propagation: "staged" (inputs from everything before as already compressed), "block" (the
        papers' code) or "dense".
    skip: Layers to leave alone: exact names, globs ("*.mlp.*") or "re:<pattern>". One that matches
        nothing is an error.
    only: When not empty, only the layers that match.
    overrides: dict, pattern -> Compressor (or list) for the layers that match instead, None to leave
        them alone; the first that matches decides.
    allocation: How many weights each layer loses: uniform(s), global_magnitude(s), owl(s), or a
        function of a LayerShape that returns the count. None: the pattern's share of each.
    keep_zeros: Treat weights that are exactly zero as pruned: they stay zero.
    nan_policy: "refuse" layers with NaN or infinite weights, or "keep" the rows that hold them as
        they are. (Text that runs through them ends in activations that are not finite, an error.)
    keep_tensors: Keep weights, codes and scales in the result as well.
    measure_loss: Collect what loss and relative_error need (a Gram matrix a layer) and work them
        out; False leaves them None.
    progress: Function of a Progress; returning False cancels (KeyboardInterrupt). Ctrl-C works.

Returns:
    CompressionResult

Raises:
    ValueError, NumericalError: As the compressor; the model is then as it was before.)");
  m.def(
      "compress_checkpoint",
      [](const py::object& input, const py::object& calibration, const py::object& compressor,
         const py::object& output, const std::string& propagation,
         const std::vector<std::string>& skip, const std::vector<std::string>& only,
         const py::dict& overrides, const py::object& allocation, bool keep_zeros,
         const std::string& nan_policy, bool measure_loss, const std::string& dtype,
         const std::string& device, const std::string& format, const py::object& progress) {
        const Arguments given(calibration, compressor, propagation, skip, only, overrides,
                              allocation, keep_zeros, nan_policy, false, measure_loss, progress);
        const std::string from = as_path(input), to = as_path(output);
        py::gil_scoped_release release;
        return compress_checkpoint(from, given.calibration, *given.compressor, to, given.options,
                                   {dtype, device, true}, {format});
      },
      py::arg("input_dir"), py::arg("calibration"), py::arg("compressor"), py::arg("output_dir"),
      py::arg("propagation") = "staged", py::arg("skip") = std::vector<std::string>(),
      py::arg("only") = std::vector<std::string>(), py::arg("overrides") = py::dict(),
      py::arg("allocation") = py::none(), py::arg("keep_zeros") = false,
      py::arg("nan_policy") = "refuse", py::arg("measure_loss") = true, py::arg("dtype") = "auto",
      py::arg("device") = "cpu", py::arg("format") = "dense", py::arg("progress") = py::none(),
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
