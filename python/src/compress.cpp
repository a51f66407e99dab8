#include <torch/csrc/autograd/python_variable.h>

#include "bindings.h"

namespace cupel::python {

namespace {

Needs parse_needs(const py::object& needs) {
  if (py::isinstance<Needs>(needs)) return needs.cast<Needs>();
  Needs all = Needs::none;
  if (py::isinstance<py::str>(needs)) {
    return py::module_::import("cupel._cupel").attr("Needs").attr(needs).cast<Needs>();
  }
  for (const py::handle& one : needs)
    all = all | parse_needs(py::reinterpret_borrow<py::object>(one));
  return all;
}

Scope parse_scope(const std::string& name) {
  if (name == "row") return Scope::row;
  if (name == "matrix") return Scope::matrix;
  throw std::invalid_argument("[Criterion] scope is row or matrix. Got '" + name + "'.");
}

// Python may keep what it is handed, so it gets values of its own: an InputStats copies as a few
// tensor handles, and a task is rebuilt around its own.
struct OwnedTask {
  explicit OwnedTask(const LayerTask& task)
      : stats(task.stats), task{task.name,        task.weight,      stats, task.mask, nullptr,
                                task.prune_count, task.measure_loss} {}
  OwnedTask(const OwnedTask& other) : OwnedTask(other.task) {}
  InputStats stats;
  LayerTask task;
};

Criterion make_criterion(const std::string& name, const py::object& needs,
                         const py::function& score, const std::string& scope,
                         const std::optional<py::function>& column_factor) {
  const auto call = [held = hold(score)](const torch::Tensor& weight, const InputStats& stats) {
    py::gil_scoped_acquire gil;
    return (*held)(weight, InputStats(stats)).cast<torch::Tensor>();
  };
  Criterion made{name, parse_needs(needs), call, parse_scope(scope)};
  if (column_factor) {
    made.column_factor = [held = hold(*column_factor)](const InputStats& stats) {
      py::gil_scoped_acquire gil;
      return (*held)(InputStats(stats)).cast<torch::Tensor>();
    };
  }
  return made;
}

Quantizer make_quantizer(const std::string& name, const py::function& fit) {
  return [name, held = hold(fit)](const GridRequest& request) {
    py::gil_scoped_acquire gil;
    const py::object made = (*held)(request.weight, request.grid, tensor_or_none(request.factor));
    const auto is_tensor = [&](int i) {
      return THPVariable_Check(py::object(made[py::int_(i)]).ptr());
    };
    if (!py::isinstance<py::tuple>(made) || py::len(made) != 2 || !is_tensor(0) || !is_tensor(1)) {
      throw std::invalid_argument("[Grid] quantizer '" + name + "' returns (scales, zeros). Got " +
                                  py::repr(made).cast<std::string>() + ".");
    }
    const auto pair = made.cast<std::pair<torch::Tensor, torch::Tensor>>();
    return GridValues{pair.first, pair.second};
  };
}

// Lets Python classes be compressors: they define compress(task) and name.
class PyCompressor : public Compressor {
 public:
  using Compressor::compress;
  LayerResult compress(const LayerTask& task) const override {
    py::gil_scoped_acquire gil;
    const py::function function =
        py::get_override(static_cast<const Compressor*>(this), "compress");
    if (!function) throw std::invalid_argument("[Compressor] a subclass defines compress(task).");
    return function(OwnedTask(task)).cast<LayerResult>();
  }
  Needs needs() const override {
    py::gil_scoped_acquire gil;
    const py::object self = py::cast(static_cast<const Compressor*>(this));
    return parse_needs(self.attr("needs"));
  }
  std::string name() const override {
    py::gil_scoped_acquire gil;
    const py::object self = py::cast(static_cast<const Compressor*>(this));
    return self.attr("name").cast<std::string>();
  }
  std::string options_json() const override {
    PYBIND11_OVERRIDE(std::string, Compressor, options_json);
  }
};

template <torch::Tensor LayerResult::* member>
void tensor_field(py::class_<LayerResult>& type, const char* name, const char* doc) {
  type.def_property(
      name, [](const LayerResult& r) { return tensor_or_none(r.*member); },
      [](LayerResult& r, const std::optional<torch::Tensor>& t) { r.*member = none_or_tensor(t); },
      doc);
}

void bind_patterns(py::module_& m) {
  py::class_<Pattern>(m, "Pattern", "Which weights are to go.")
      .def_readonly("sparsity", &Pattern::sparsity, "fraction of zeros")
      .def_readonly("n", &Pattern::n, "kept of every m; 0 = unstructured")
      .def_readonly("m", &Pattern::m)
      .def("__repr__", [](const Pattern& p) { return "<Pattern " + p.to_string() + ">"; })
      .def("__str__", &Pattern::to_string);
  m.def("unstructured", &unstructured, py::arg("sparsity"),
        "Prunes a fraction, compared within the criterion's own published group (magnitude: the "
        "matrix; wanda: each output row). ValueError outside [0, 1].");
  m.def("row_wise", &row_wise, py::arg("sparsity"), "Compares the weights of each output row.");
  m.def("matrix_wise", &matrix_wise, py::arg("sparsity"), "Compares all weights of the matrix.");
  m.def("n_of_m", &n_of_m, py::arg("n"), py::arg("m"),
        "Keeps n of every m consecutive input columns. (The papers' prune_n counts zeros.)");
  m.def("parse_pattern", &parse_pattern, py::arg("text"), "'2:4' or '0.5'");
  m.def(
      "keep_mask",
      [](const torch::Tensor& scores, const Pattern& pattern, const std::string& scope,
         const std::string& rules) {
        return keep_mask(scores, pattern, parse_scope(scope), parse_rules(rules));
      },
      py::arg("scores"), py::arg("pattern"), py::arg("scope") = "row", py::arg("rules") = "exact",
      "The weights to keep, [out, in] bool, for scores [out, in] (larger = keep). A group of g "
      "weights loses floor(sparsity * g); ties keep the lower column.");
}

void bind_criteria(py::module_& m) {
  py::class_<Criterion>(m, "Criterion", R"(How much each weight matters.

Args:
    name: For tables and records.
    needs: "none", "sum", "sq_norm", "gram", or a list of them; only these are collected.
    score: Function (weight float32 [out, in], stats: InputStats) -> scores [out, in], larger = keep.
    scope: "row" or "matrix", the comparison group that `unstructured` means.
    column_factor: Where every score is |weight| times a factor of its column: function (stats) -> those
        factors [in] float32, which spare a matrix of scores. Must agree with `score`.)")
      .def(py::init(&make_criterion), py::arg("name"), py::arg("needs"), py::arg("score"),
           py::arg("scope") = "row", py::arg("column_factor") = py::none())
      .def_readonly("name", &Criterion::name)
      .def_readonly("needs", &Criterion::needs)
      .def(
          "score",
          [](const Criterion& c, const torch::Tensor& weight, const InputStats& stats) {
            return c.score(weight, stats);
          },
          py::arg("weight"), py::arg("stats"));
  m.def(
      "add_criterion", [](const Criterion& c) { criteria().add(c.name, c); }, py::arg("criterion"),
      "Registers a criterion under its name. ValueError when the name is taken.");
  m.def(
      "remove_criterion", [](const std::string& name) { criteria().remove(name); }, py::arg("name"),
      "Forgets a registered criterion.");
  m.def("criteria", [] { return criteria().names(); }, "Names of all criteria.");
  m.def(
      "add_quantizer",
      [](const std::string& name, const py::function& fit) {
        quantizers().add(name, make_quantizer(name, fit));
      },
      py::arg("name"), py::arg("fit"),
      R"(Registers a way to choose a grid's scales, for Grid(clip=name).

Args:
    name: For Grid.clip.
    fit: Function (weight float32 [out, columns], grid: Grid, factor) -> (scales [out], zeros [out]):
        value = (code - zero) * scale. factor is R [columns, columns] of the inputs' Hessian in Gptq and
        SparseGpt, None elsewhere.

Raises:
    ValueError: The name is taken.)");
  m.def(
      "remove_quantizer", [](const std::string& name) { quantizers().remove(name); },
      py::arg("name"), "Forgets a registered quantizer.");
  m.def("quantizers", [] { return quantizers().names(); }, "Names of all quantizers (Grid.clip).");
}

void bind_layers(py::module_& m) {
  py::class_<OwnedTask>(m, "LayerTask", "One linear layer to compress.")
      .def_property_readonly("name", [](const OwnedTask& t) { return t.task.name; })
      .def_property_readonly(
          "weight", [](const OwnedTask& t) { return t.task.weight; }, "[out, in]")
      .def_property_readonly(
          "stats", [](const OwnedTask& t) { return t.stats; }, "InputStats of its inputs")
      .def_property_readonly(
          "mask", [](const OwnedTask& t) { return tensor_or_none(t.task.mask); },
          "[out, in] bool of an earlier pruning, or None")
      .def_property_readonly(
          "prune_count", [](const OwnedTask& t) { return t.task.prune_count; },
          "weights to prune, from an allocation; -1 = as the method says")
      .def_property_readonly(
          "measure_loss", [](const OwnedTask& t) { return t.task.measure_loss; },
          "whether finish_result() works out loss and relative_error");

  py::class_<LayerResult> result(m, "LayerResult",
                                 "What became of a layer; fields that do not apply are None.");
  result.def(py::init([](const torch::Tensor& weight, const std::optional<torch::Tensor>& mask) {
               LayerResult made;
               made.weight = weight;
               made.mask = none_or_tensor(mask);
               return made;
             }),
             py::arg("weight"), py::arg("mask") = py::none());
  tensor_field<&LayerResult::weight>(result, "weight", "[out, in], dtype of the input weight");
  tensor_field<&LayerResult::mask>(result, "mask", "[out, in] bool, true = keep");
  tensor_field<&LayerResult::codes>(result, "codes", "[out, in] uint8");
  tensor_field<&LayerResult::scales>(result, "scales", "[out, groups] float32");
  tensor_field<&LayerResult::zeros>(result, "zeros", "[out, groups] int32");
  tensor_field<&LayerResult::group_index>(result, "group_index", "[in] int32");
  tensor_field<&LayerResult::permutation>(result, "permutation", "[in] int64");
  result.def_readonly("name", &LayerResult::name)
      .def_readwrite("bits", &LayerResult::bits, "of the codes; 0 = not quantized")
      .def_readonly("sparsity", &LayerResult::sparsity, "fraction of zero weights")
      .def_readonly("loss", &LayerResult::loss, "||X dW^T||^2 / tokens")
      .def_readonly("relative_error", &LayerResult::relative_error, "||X dW^T||^2 / ||X W^T||^2")
      .def_readonly("sweep_loss", &LayerResult::sweep_loss)
      .def_readonly("damping", &LayerResult::damping)
      .def_readonly("rungs", &LayerResult::rungs)
      .def_readonly("dead_columns", &LayerResult::dead_columns)
      .def_readonly("tokens", &LayerResult::tokens)
      .def_readonly("packed_bytes", &LayerResult::packed_bytes, "computed size if packed")
      .def_readonly("seconds", &LayerResult::seconds)
      .def_readwrite("notes", &LayerResult::notes);
  m.def(
      "finish_result",
      [](const OwnedTask& owned, LayerResult& made) { finish_result(owned.task, made); },
      py::arg("task"), py::arg("result"),
      "Fills sparsity, loss, relative error and the rest from task and result weights; call it "
      "last in a compressor of your own.");
}

// Python's own object around what is a handle in C++.
struct Factors {
  std::shared_ptr<SharedFactors> handle = make_shared_factors();
};

LayerResult compress_tensor(const Compressor& compressor, const torch::Tensor& weight,
                            const InputStats* stats, const std::string& name,
                            const std::optional<torch::Tensor>& mask, int64_t prune_count,
                            const std::string& nan_policy, bool measure_loss,
                            const Factors* shared) {
  const LayerOptions options{name,         none_or_tensor(mask),
                             prune_count,  parse_nan_policy(nan_policy),
                             measure_loss, shared ? shared->handle : nullptr};
  const ProgressReporter signals(make_progress(py::none()));
  const WorkScope working([&] { signals.report({.stage = "compress", .name = name}); });
  py::gil_scoped_release release;
  return stats ? compressor.compress(weight, *stats, options)
               : compressor.compress(weight, options);
}

}  // namespace

void bind_compress(py::module_& m) {
  bind_patterns(m);
  bind_criteria(m);
  bind_layers(m);

  py::class_<Grid>(m, "Grid", R"(A uniform grid for weights.

Args:
    bits: 1 to 8.
    group: Columns that share a scale; 0 = one grid per output row.
    symmetric: Zero point fixed at 2^(bits-1).
    clip: The quantizer that chooses scales: "min_max", "mse", "hessian" (least output error; in Gptq
        and SparseGpt only), or your own.
    scale_dtype: Scales are rounded to it: "float32", "float16" or "bfloat16".)")
      .def(py::init([](int64_t bits, int64_t group, bool symmetric, const std::string& clip,
                       const std::string& scale_dtype) {
             Grid grid{bits, group, symmetric, clip, scale_dtype};
             check_grid(grid);
             return grid;
           }),
           py::arg("bits") = 4, py::arg("group") = 0, py::arg("symmetric") = false,
           py::arg("clip") = "min_max", py::arg("scale_dtype") = "float32")
      .def_readonly("bits", &Grid::bits)
      .def_readonly("group", &Grid::group)
      .def_readonly("symmetric", &Grid::symmetric)
      .def_readonly("clip", &Grid::clip)
      .def_readonly("scale_dtype", &Grid::scale_dtype);

  py::class_<Factors>(m, "SharedFactors", R"(Keeps the factor of the last Hessian.

Layers with the very same InputStats, such as q, k and v, factor it once when the same SharedFactors is
given with each of them, one after the other: Compressor.compress(..., shared=factors). Results are the
same bytes as without. For one thread at a time.)")
      .def(py::init<>());

  py::class_<Compressor, PyCompressor, std::shared_ptr<Compressor>>(m, "Compressor",
                                                                    R"(A compression method.

A subclass defines compress(task: LayerTask) -> LayerResult, and may set `name` (str) and `needs`
("gram" unless set; as in Criterion).)")
      .def(py::init<>())
      .def("compress", &compress_tensor, py::arg("weight"), py::arg("stats") = nullptr,
           py::arg("name") = "weight", py::arg("mask") = py::none(), py::arg("prune_count") = -1,
           py::arg("nan_policy") = "refuse", py::arg("measure_loss") = true,
           py::arg("shared") = nullptr,
           R"(Compresses a bare tensor.

Args:
    weight: [out, in], float32, bfloat16 or float16.
    stats: InputStats of its inputs; None for methods that need none.
    name: For messages.
    mask: [out, in] bool of an earlier pruning; what it prunes stays zero.
    prune_count: Exactly so many weights go, whatever the pattern's sparsity; -1 = as it says.
    nan_policy: "refuse" weights that are not finite, or "keep" the rows that hold them as they are
        and compress the others; the notes name them, and the result has no codes then.
    measure_loss: False leaves loss and relative_error None, which takes about as long to work out as
        the solve itself.
    shared: SharedFactors, given with every layer of the same stats; None makes a factor for this layer.

Returns:
    LayerResult

Raises:
    NumericalError: NaN or infinite weights, zero calibration tokens.
    ValueError: Shapes that do not fit.)")
      .def("options_json", &Compressor::options_json)
      .def_property_readonly("name",
                             [](const Compressor& c) -> std::string {
                               // What a subclass that sets no name of its own is called.
                               return dynamic_cast<const PyCompressor*>(&c) ? "custom" : c.name();
                             })
      .def_property_readonly("needs", [](const Compressor& c) {
        return dynamic_cast<const PyCompressor*>(&c) ? Needs::gram : c.needs();
      });

  py::class_<Prune, Compressor, std::shared_ptr<Prune>>(
      m, "Prune", R"(Zeroes the weights that a criterion scores lowest; no weight is updated.

Args:
    criterion: A name ("magnitude", "wanda", your own) or a Criterion.
    pattern: unstructured(s), row_wise(s), matrix_wise(s) or n_of_m(n, m).
    rules: "exact", or "published" for the papers' code.)")
      .def(py::init([](const std::string& criterion, const Pattern& pattern,
                       const std::string& rules) {
             return std::make_shared<Prune>(criterion, pattern, PruneOptions{parse_rules(rules)});
           }),
           py::arg("criterion"), py::arg("pattern"), py::arg("rules") = "exact")
      .def(py::init([](const Criterion& criterion, const Pattern& pattern,
                       const std::string& rules) {
             return std::make_shared<Prune>(criterion, pattern, PruneOptions{parse_rules(rules)});
           }),
           py::arg("criterion"), py::arg("pattern"), py::arg("rules") = "exact");

  bind_solvers(m);
  bind_allocation(m);

  py::class_<Rtn, Compressor, std::shared_ptr<Rtn>>(
      m, "Rtn", "Round-to-nearest quantization; needs no calibration.")
      .def(py::init([](const Grid& grid, const std::string& rules) {
             return std::make_shared<Rtn>(grid, RtnOptions{parse_rules(rules)});
           }),
           py::arg("grid"), py::arg("rules") = "exact");
}

}  // namespace cupel::python
