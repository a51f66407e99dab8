#include "bindings.h"

namespace cupel::python {

namespace {

std::vector<std::shared_ptr<const Compressor>> as_steps(const py::sequence& compressors) {
  std::vector<std::shared_ptr<const Compressor>> steps;
  for (const py::handle& step : compressors) {
    steps.push_back(as_compressor(py::reinterpret_borrow<py::object>(step)));
  }
  return steps;
}

}  // namespace

std::shared_ptr<const Compressor> as_compressor(const py::object& compressor) {
  if (py::isinstance<py::list>(compressor) || py::isinstance<py::tuple>(compressor)) {
    return std::make_shared<Chain>(as_steps(compressor));
  }
  if (!py::isinstance<Compressor>(compressor)) {
    throw py::type_error("[compress] a compressor is a Compressor or a list of them. Got " +
                         py::repr(compressor).cast<std::string>() + ".");
  }
  // A class written in Python lives as long as its Python object, so that is what is held on to.
  const auto held = hold(compressor);
  return {held, compressor.cast<const Compressor*>()};
}

void bind_solvers(py::module_& m) {
  py::class_<SparseGpt, Compressor, std::shared_ptr<SparseGpt>>(
      m, "SparseGpt", R"(SparseGPT pruning: each column's error is taken up by the columns after it.

Args:
    pattern: unstructured(s) compares within a block of columns, row_wise(s) within the block's part
        of each row, matrix_wise(s) over the matrix before the sweep; n_of_m(n, m).
    damping: Added to the Hessian's diagonal, as a fraction of its mean.
    block: Columns compared and updated together.
    grid: Grid to round what is kept to, in the same sweep.
    saliency: "obs" (the paper's), "wanda" or "magnitude"; with selection="dense" any criterion.
    selection: "block", on the updated weights as the sweep goes; "dense", all before it.
    rules: "exact", or "published" for the paper's code.
    on_failure: "error", or the criterion to prune by where there is no Hessian to work with.

A mask given to compress() is kept, and its error taken up like any other: unstructured(0) with a
mask updates the weights that a mask of your own leaves.

Frantar & Alistarh, SparseGPT, arXiv 2301.00774.)")
      .def(py::init([](const Pattern& pattern, double damping, int64_t block,
                       const std::optional<Grid>& grid, const std::string& saliency,
                       const std::string& selection, const std::string& rules,
                       const std::string& on_failure) {
             return std::make_shared<SparseGpt>(
                 pattern, SparseGptOptions{damping, block, grid, saliency, selection,
                                           parse_rules(rules), on_failure});
           }),
           py::arg("pattern"), py::arg("damping") = 0.01, py::arg("block") = 128,
           py::arg("grid") = py::none(), py::arg("saliency") = "obs",
           py::arg("selection") = "block", py::arg("rules") = "exact",
           py::arg("on_failure") = "error");

  py::class_<Gptq, Compressor, std::shared_ptr<Gptq>>(
      m, "Gptq",
      R"(GPTQ quantization: each column's rounding error is taken up by the columns after it.

Args:
    grid: Grid; clip may be "hessian".
    damping: Added to the Hessian's diagonal, as a fraction of its mean.
    block: Columns between two updates of those that follow.
    order: "none", or "activation" for columns by falling Hessian diagonal (act-order).
    static_groups: Fit all grids beforehand, groups in the order of the matrix.
    rules: "exact", or "published" for the paper's code.
    on_failure: "error", or "rtn" to round to nearest where there is no Hessian to work with.

Frantar et al., GPTQ, arXiv 2210.17323.)")
      .def(
          py::init([](const Grid& grid, double damping, int64_t block, const std::string& order,
                      bool static_groups, const std::string& rules, const std::string& on_failure) {
            return std::make_shared<Gptq>(grid, GptqOptions{damping, block, order, static_groups,
                                                            parse_rules(rules), on_failure});
          }),
          py::arg("grid"), py::arg("damping") = 0.01, py::arg("block") = 128,
          py::arg("order") = "none", py::arg("static_groups") = false, py::arg("rules") = "exact",
          py::arg("on_failure") = "error");

  py::class_<Chain, Compressor, std::shared_ptr<Chain>>(
      m, "Chain",
      R"(Several methods one after the other on each layer, such as pruning and then quantization.

What one prunes stays exactly zero in all that follow; losses are against the weight that the first
was given. compress() makes one of a list.

Args:
    steps: Compressors, in order.)")
      .def(py::init(
               [](const py::sequence& steps) { return std::make_shared<Chain>(as_steps(steps)); }),
           py::arg("steps"));
}

}  // namespace cupel::python
