#include "bindings.h"

namespace cupel::python {

void bind_solvers(py::module_& m) {
  py::class_<SparseGpt, Compressor, std::shared_ptr<SparseGpt>>(m, "SparseGpt", R"(SparseGPT pruning: each column's error is taken up by the columns after it.

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

  py::class_<Gptq, Compressor, std::shared_ptr<Gptq>>(m, "Gptq", R"(GPTQ quantization: each column's rounding error is taken up by the columns after it.

Args:
    grid: Grid; clip may be "hessian".
    damping: Added to the Hessian's diagonal, as a fraction of its mean.
    block: Columns between two updates of those that follow.
    order: "none", or "activation" for columns by falling Hessian diagonal (act-order).
    static_groups: Fit all grids beforehand, groups in the order of the matrix.
    rules: "exact", or "published" for the paper's code.
    on_failure: "error", or "rtn" to round to nearest where there is no Hessian to work with.

Frantar et al., GPTQ, arXiv 2210.17323.)")
      .def(py::init([](const Grid& grid, double damping, int64_t block, const std::string& order,
                       bool static_groups, const std::string& rules,
                       const std::string& on_failure) {
             return std::make_shared<Gptq>(grid, GptqOptions{damping, block, order, static_groups,
                                                             parse_rules(rules), on_failure});
           }),
           py::arg("grid"), py::arg("damping") = 0.01, py::arg("block") = 128,
           py::arg("order") = "none", py::arg("static_groups") = false,
           py::arg("rules") = "exact", py::arg("on_failure") = "error");
}

}  // namespace cupel::python
