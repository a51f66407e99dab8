#pragma once

#include <cupel/cupel.h>
#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <memory>
#include <optional>
#include <string>

namespace cupel::python {

namespace py = pybind11;

// One function for each folder of the library, in one file of that name.
void bind_core(py::module_& m);
void bind_checkpoint(py::module_& m);
void bind_text(py::module_& m);
void bind_chat(py::module_& m);  // called by bind_text
void bind_model(py::module_& m);
void bind_calibration(py::module_& m);
void bind_compress(py::module_& m);
void bind_solvers(py::module_& m);  // called by bind_compress
void bind_allocation(py::module_& m);
void bind_compress_model(py::module_& m);
void bind_eval(py::module_& m);
void bind_token_model(py::module_& m);     // called by bind_eval
void bind_scorer(py::module_& m);          // called by bind_eval
void bind_perplexity(py::module_& m);      // called by bind_eval
void bind_statistics(py::module_& m);      // called by bind_eval
void bind_metrics(py::module_& m);         // called by bind_eval
void bind_text_figures(py::module_& m);    // called by bind_eval
void bind_tasks(py::module_& m);           // called by bind_eval
void bind_evaluate(py::module_& m);        // called by bind_eval
void bind_judge(py::module_& m);           // called by bind_eval
void bind_judge_requests(py::module_& m);  // called by bind_judge
void bind_judge_results(py::module_& m);   // called by bind_judge
void bind_report(py::module_& m);

/// A function of messages as a chat template; `stop` and `special` are its attributes where None.
ChatTemplate as_chat_template(const py::object& prompt, const py::object& stop,
                              const py::object& special);

/// A Python object that C++ may copy and drop on any thread: a copy of it touches no reference count
/// of Python's, and the last one takes the GIL.
inline std::shared_ptr<py::object> hold(py::object object) {
  return {new py::object(std::move(object)), [](py::object* held) {
            const py::gil_scoped_acquire gil;
            delete held;
          }};
}

/// A progress function for C++ from a Python one (or None). Either way Python's signals are
/// looked at, so Ctrl-C stops the call.
ProgressFunction make_progress(const py::object& function);

/// A tokenizer from cupel's own or from any Hugging Face one; keeps the Python object alive.
std::shared_ptr<Tokenizer> as_tokenizer(const py::object& tokenizer);

/// A token model from one of cupel's own (TokenModel, Model) or a causal language model of
/// transformers; keeps the Python object alive. TypeError for anything else.
std::shared_ptr<TokenModel> as_token_model(const py::object& model);

/// A scorer from any cupel.Scorer; keeps the Python object alive. TypeError for anything else.
std::shared_ptr<Scorer> as_scorer(const py::object& scorer);

/// What a Python class gives under `name`, be it an attribute, a property or a method without
/// arguments. std::invalid_argument when neither it nor a base of it but `Base` defines it.
template <typename Base, typename Value>
Value get_defined(const Base* self, const char* base, const char* name) {
  const py::gil_scoped_acquire gil;
  const py::object object = py::cast(self);
  // The base class's own would come straight back here.
  if (py::type::of(object).attr(name).is(py::type::of<Base>().attr(name)) &&
      !py::cast<py::dict>(object.attr("__dict__")).contains(name)) {
    throw std::invalid_argument(c10::str("[", base, "] a subclass defines ", name, "."));
  }
  const py::object found = object.attr(name);
  return (py::isinstance<Value>(found) ? found : found()).template cast<Value>();
}

/// Calibration from None, a Calibration, an integer tensor, or a list of 1-D tensors.
Calibration as_calibration(const py::object& tokens);

/// A compressor from a Compressor, or from a list of them (a Chain). Keeps Python objects alive.
std::shared_ptr<const Compressor> as_compressor(const py::object& compressor);

/// An allocation from an Allocation or a function (LayerShape) -> int; empty for None.
std::optional<Allocation> as_allocation(const py::object& allocation);

/// A path from str or os.PathLike.
std::string as_path(const py::object& path);

/// None for an undefined tensor.
inline py::object tensor_or_none(const torch::Tensor& tensor) {
  return tensor.defined() ? py::cast(tensor) : py::none();
}

/// The tensor of an object that may be None.
inline torch::Tensor none_or_tensor(const std::optional<torch::Tensor>& tensor) {
  return tensor.value_or(torch::Tensor());
}

}  // namespace cupel::python
