#include "bindings.h"

namespace cupel::python {

void bind_report(py::module_& m) {
  py::class_<Table>(m, "Table", "A table of text cells.")
      .def_readonly("columns", &Table::columns)
      .def_readonly("rows", &Table::rows)
      .def("to_csv", &Table::to_csv)
      .def("to_markdown", &Table::to_markdown);
  py::class_<ReportEntry>(m, "ReportEntry", R"(One model of a report.

Args:
    name: For the table.
    scores: From evaluate().
    disk_bytes: Of the weight files as written; 0 = unknown.
    packed_bytes: Computed size if packed; 0 = unknown.
    comparison: With the dense model, when it is made already.)")
      .def(py::init([](const std::string& name, const EvalResult& scores, int64_t disk,
                       int64_t packed, const std::optional<Comparison>& comparison) {
             return ReportEntry{name, scores, disk, packed, comparison};
           }),
           py::arg("name"), py::arg("scores"), py::arg("disk_bytes") = 0,
           py::arg("packed_bytes") = 0, py::arg("comparison") = py::none())
      .def_readonly("name", &ReportEntry::name)
      .def_readonly("scores", &ReportEntry::scores)
      .def_readonly("comparison", &ReportEntry::comparison)
      .def_readonly("disk_bytes", &ReportEntry::disk_bytes)
      .def_readonly("packed_bytes", &ReportEntry::packed_bytes);
  m.def("layer_table", &layer_table, py::arg("result"), "One row a compressed layer: Table.");
  m.def("score_table", &score_table, py::arg("dense"), py::arg("entries"),
        "Dense first (or None), then each entry against it: perplexity, ratio, paired loss "
        "difference with standard error, bytes on disk and packed bytes (computed).");
  m.def("task_table", &task_table, py::arg("dense"), py::arg("entries"),
        "The same for tasks that score items: a row a metric, with its difference, interval, p, "
        "flips and verdict.");
  m.def(
      "write_report",
      [](const py::object& dir, const ReportEntry& entry, const std::optional<ReportEntry>& dense) {
        write_report(as_path(dir), entry, dense);
      },
      py::arg("dir"), py::arg("entry"), py::arg("dense") = py::none(),
      "Writes scores.json, scores.csv and scores.md into a folder, with items tasks.csv, with a "
      "dense "
      "entry comparison.json.");
  m.def(
      "weight_bytes_on_disk",
      [](const py::object& dir) { return weight_bytes_on_disk(as_path(dir)); }, py::arg("dir"),
      "Bytes of the .safetensors files in a model folder.");
}

}  // namespace cupel::python
