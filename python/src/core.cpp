#include "bindings.h"

namespace cupel::python {

namespace {

PyObject* format_error = nullptr;
PyObject* numerical_error = nullptr;

PyObject* add_error(py::module_& m, const char* name, const char* doc, PyObject* base) {
  PyObject* type =
      PyErr_NewExceptionWithDoc((std::string("cupel.") + name).c_str(), doc, base, nullptr);
  if (type == nullptr) throw py::error_already_set();
  m.add_object(name, py::handle(type));
  return type;
}

void translate(std::exception_ptr pointer) {
  try {
    if (pointer) std::rethrow_exception(pointer);
  } catch (const FormatError& error) {
    py::object value = py::reinterpret_borrow<py::object>(format_error)(error.what());
    value.attr("file") = error.file();
    value.attr("where") = error.where();
    value.attr("rule") = error.rule();
    PyErr_SetObject(format_error, value.ptr());
  } catch (const NumericalError& error) {
    PyErr_SetString(numerical_error, error.what());
  } catch (const Cancelled& error) {
    PyErr_SetString(PyExc_KeyboardInterrupt, error.what());
  }
}

}  // namespace

ProgressFunction make_progress(const py::object& function) {
  return [held = hold(function)](const Progress& progress) {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (held->is_none()) return true;
    const py::object answer = (*held)(progress);
    return answer.is_none() || py::bool_(answer);
  };
}

std::string as_path(const py::object& path) {
  return py::module_::import("os").attr("fspath")(path).cast<std::string>();
}

void bind_core(py::module_& m) {
  format_error =
      add_error(m, "FormatError",
                "A bad file; .file, .where (tensor, field, offset or line) and .rule say "
                "which, where and why. Also a ValueError.",
                PyExc_ValueError);
  numerical_error =
      add_error(m, "NumericalError",
                "Numbers that cannot be worked with: no tokens, NaN weights, non-finite "
                "activations. Also an ArithmeticError.",
                PyExc_ArithmeticError);
  py::register_exception_translator(translate);

  py::class_<Progress>(m, "Progress", "Where a long call stands; handed to progress functions.")
      .def_readonly("stage", &Progress::stage,
                    "'calibrate', 'compress', 'score', 'generate' or 'write'")
      .def_readonly("name", &Progress::name, "The layer, file or task at hand")
      .def_readonly("done", &Progress::done, "Finished steps")
      .def_readonly("total", &Progress::total, "All steps")
      .def_readonly("seconds", &Progress::seconds, "Since the call began")
      .def_readonly("loss", &Progress::loss, "Of the layer just finished, or NaN")
      .def_readonly("layer_done", &Progress::layer_done, "True on the report that ends a layer");

  m.attr("__version__") = CUPEL_VERSION;
  m.attr("torch_minor") = CUPEL_TORCH_MINOR;
}

}  // namespace cupel::python
