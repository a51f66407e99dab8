#include "bindings.h"

namespace cupel::python {

void bind_checkpoint(py::module_& m) {
  m.def(
      "read_safetensors",
      [](const py::object& path) {
        const std::string file = as_path(path);
        py::gil_scoped_release release;
        return read_safetensors(file);
      },
      py::arg("path"), R"(Every tensor of a .safetensors file, by name, in new CPU memory.

Args:
    path: The file.

Returns:
    dict[str, torch.Tensor]

Raises:
    FormatError: The file breaks a rule of the format; names file, tensor and rule.)");
  m.def(
      "write_safetensors",
      [](const py::object& path, const py::dict& tensors,
         const std::map<std::string, std::string>& metadata) {
        std::vector<std::pair<std::string, torch::Tensor>> list;
        for (const auto& [name, tensor] : tensors) {
          list.emplace_back(name.cast<std::string>(), tensor.cast<torch::Tensor>());
        }
        const std::string file = as_path(path);
        py::gil_scoped_release release;
        write_safetensors(file, list, metadata);
      },
      py::arg("path"), py::arg("tensors"),
      py::arg("metadata") = std::map<std::string, std::string>(),
      R"(Writes tensors to a .safetensors file, in the order of the dict, atomically.

Args:
    path: The file; replaced only when the new one is complete.
    tensors: dict[str, torch.Tensor] of any shape and device.
    metadata: dict[str, str]

Raises:
    ValueError: A dtype that the format lacks.)");

  py::class_<Quantized>(
      m, "Quantized", "weight == ((codes - zeros) * scales in float32) cast to the weight's dtype.")
      .def_property_readonly(
          "codes", [](const Quantized& q) { return tensor_or_none(q.codes); }, "[out, in] uint8")
      .def_property_readonly(
          "scales", [](const Quantized& q) { return tensor_or_none(q.scales); },
          "[out, groups] float32")
      .def_property_readonly(
          "zeros", [](const Quantized& q) { return tensor_or_none(q.zeros); },
          "[out, groups] int32")
      .def_property_readonly(
          "group_index", [](const Quantized& q) { return tensor_or_none(q.group_index); },
          "[in] int32, the group of each column")
      .def_readonly("bits", &Quantized::bits);
  m.def("dequantize", &dequantize, py::arg("quantized"), py::call_guard<py::gil_scoped_release>(),
        "The float32 weight [out, in] that codes, scales and zeros stand for.");
}

}  // namespace cupel::python
