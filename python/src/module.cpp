// Table of contents of the extension module.
#include "bindings.h"

PYBIND11_MODULE(_cupel, m) {
  m.doc() = "Compiled part of cupel; import cupel instead.";
  cupel::python::py::module_::import("torch");  // its Python types must exist before ours
  using namespace cupel::python;
  bind_core(m);
  bind_checkpoint(m);
  bind_text(m);
  bind_model(m);
  bind_calibration(m);
  bind_compress(m);
  bind_compress_model(m);
  bind_eval(m);
  bind_report(m);
}
