#include "bindings.h"

namespace cupel::python {

std::optional<Allocation> as_allocation(const py::object& allocation) {
  if (allocation.is_none()) return std::nullopt;
  if (py::isinstance<Allocation>(allocation)) return allocation.cast<Allocation>();
  if (!PyCallable_Check(allocation.ptr())) {
    throw py::type_error(
        "[compress] an allocation is an Allocation or a function of a LayerShape. Got " +
        py::repr(allocation).cast<std::string>() + ".");
  }
  const py::object named = py::getattr(allocation, "__name__", py::str("custom"));
  return per_layer(named.cast<std::string>(), [held = hold(allocation)](const LayerShape& layer) {
    const py::gil_scoped_acquire gil;
    return (*held)(layer).cast<int64_t>();
  });
}

void bind_allocation(py::module_& m) {
  py::class_<LayerShape>(m, "LayerShape", "A linear layer that is going to be compressed.")
      .def(py::init([](const std::string& name, int64_t block, int64_t rows, int64_t columns) {
             return LayerShape{name, block, rows, columns};
           }),
           py::arg("name"), py::arg("block"), py::arg("rows"), py::arg("columns"))
      .def_readonly("name", &LayerShape::name)
      .def_readonly("block", &LayerShape::block, "index of the block that holds it")
      .def_readonly("rows", &LayerShape::rows)
      .def_readonly("columns", &LayerShape::columns)
      .def_property_readonly("weights", &LayerShape::weights, "rows * columns");
  py::class_<Allocation>(m, "Allocation", "How many weights each layer is to lose.")
      .def_readonly("name", &Allocation::name)
      .def_readonly("needs_text", &Allocation::needs_text, "whether it looks at the layers' inputs")
      .def(
          "counts",
          [](const Allocation& allocation, const std::vector<LayerShape>& layers,
             const py::function& for_each) {
            AllocationInput input{
                layers, [for_each](Needs needs, const AllocationInput::Visit& visit) {
                  const py::gil_scoped_acquire gil;
                  for_each(needs,
                           py::cpp_function(
                               [&visit](const LayerShape& layer, const torch::Tensor& weight,
                                        const InputStats& stats) { visit(layer, weight, stats); }));
                }};
            py::gil_scoped_release release;
            return allocate(allocation, input);
          },
          py::arg("layers"), py::arg("for_each"),
          R"(The counts for layers of your own model.

Args:
    layers: list[LayerShape], in model order.
    for_each: Function (needs: Needs, visit) that calls visit(layer, weight, stats) for each layer in
        order, stats an InputStats of its inputs in the dense model with what `needs` asks for.

Returns:
    list[int], one a layer.)");
  m.def("uniform", &uniform, py::arg("sparsity"), "floor(sparsity * weights) of every layer.");
  m.def("global_magnitude", &global_magnitude, py::arg("sparsity"),
        "One threshold on |w| over all layers: exactly floor(sparsity * all weights) go.");
  m.def(
      "owl",
      [](double sparsity, double multiple, double range) {
        return owl(sparsity, {multiple, range});
      },
      py::arg("sparsity"), py::arg("multiple") = 3.0, py::arg("range") = 0.08,
      R"(OWL: the larger a block's share of outliers among its |w_ij| ||x_j||, the fewer weights it loses.

Args:
    sparsity: Of all weights together.
    multiple: M, an outlier is worth more than M times the block's mean.
    range: lambda, ratios lie within +-lambda of the target before centring.

Yin et al., arXiv 2310.05175, section 3.)");
}

}  // namespace cupel::python
