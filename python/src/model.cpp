#include "bindings.h"

namespace cupel::python {

namespace {

void bind_config(py::module_& m) {
  py::class_<ModelConfig>(m, "ModelConfig", "What config.json says of a decoder, ranges checked.")
      .def_readonly("model_type", &ModelConfig::model_type)
      .def_readonly("architecture", &ModelConfig::architecture)
      .def_readonly("vocabulary", &ModelConfig::vocabulary)
      .def_readonly("hidden", &ModelConfig::hidden)
      .def_readonly("intermediate", &ModelConfig::intermediate)
      .def_readonly("layers", &ModelConfig::layers)
      .def_readonly("heads", &ModelConfig::heads)
      .def_readonly("key_value_heads", &ModelConfig::key_value_heads)
      .def_readonly("head_dim", &ModelConfig::head_dim)
      .def_readonly("max_positions", &ModelConfig::max_positions)
      .def_readonly("tied_embeddings", &ModelConfig::tied_embeddings)
      .def_readonly("text", &ModelConfig::text, "config.json as it stands");
}

}  // namespace

void bind_model(py::module_& m) {
  bind_config(m);
  py::class_<Model, std::shared_ptr<Model>>(m, "Model", "A runnable decoder-only language model.")
      .def_property_readonly("config", &Model::config)
      .def_property_readonly("dtype", [](const Model& model) { return model.dtype(); })
      .def("logits", &Model::logits, py::arg("tokens"), py::call_guard<py::gil_scoped_release>(),
           R"(Next-token logits.

Args:
    tokens: int64 [batch, length], ids of the model's vocabulary.

Returns:
    float32 [batch, length, vocabulary]

Raises:
    ValueError: An id outside the vocabulary, or more positions than the model has.)")
      .def("state_dict", &Model::state_dict,
           "Hugging Face tensor name -> tensor; shares memory with the model (unread blocks of a "
           "lazy model apart).")
      .def("linear_names", &Model::linear_names,
           "Names of every linear layer inside the blocks, in model order.")
      .def("tensor_shapes", &Model::tensor_shapes,
           "Hugging Face tensor name -> shape of every tensor, a tied head left out; reads no "
           "weights.")
      .def("fingerprint", &Model::fingerprint, py::call_guard<py::gil_scoped_release>(),
           "SHA-256 over names, shapes, dtypes and bytes of every weight as they are now.");

  m.def(
      "load_model",
      [](const py::object& path, const std::string& dtype, const std::string& device, bool lazy) {
        const std::string dir = as_path(path);
        py::gil_scoped_release release;
        return std::shared_ptr<Model>(load_model(dir, {dtype, device, lazy}));
      },
      py::arg("path"), py::arg("dtype") = "auto", py::arg("device") = "cpu",
      py::arg("lazy") = false,
      R"(Loads a Hugging Face model folder (config.json and safetensors), dense or "pack-quantized".

Args:
    path: The folder.
    dtype: "auto" (as stored), "float32", "bfloat16" or "float16".
    device: Where to compute.
    lazy: Read a block only when it is used.

Raises:
    FormatError: A file is missing or breaks a rule, or the tensors are not those that the config
        asks for; names file, tensor or field, and rule.
    ValueError: Unknown dtype.)");
  m.def(
      "make_model",
      [](const std::string& config, const TensorMap& state_dict) {
        return std::shared_ptr<Model>(make_model(config, state_dict));
      },
      py::arg("config"), py::arg("state_dict"),
      "A model from config.json text and a dict of tensors under Hugging Face names.");
  m.def(
      "save_model",
      [](const Model& model, const py::object& path, const std::string& format) {
        const std::string dir = as_path(path);
        py::gil_scoped_release release;
        save_model(model, dir, {format});
      },
      py::arg("model"), py::arg("path"), py::arg("format") = "dense",
      R"(Writes the model as a Hugging Face folder that transformers loads.

Keeps dtypes, ties and sharding, copies the source's other files (tokenizer, chat template ...) and
adds cupel.json: what was done, and the SHA-256 of every tensor.

Args:
    model: The model.
    path: The folder; made when absent. It must not hold other weight files.
    format: "dense", the weights as they are, zeros included; or "pack-quantized", where linear
        layers that hold codes of 4 or 8 bits are stored as compressed-tensors stores them
        (transformers reads that), and everything else stays dense.

Raises:
    ValueError: The folder holds weight files that would not be replaced; or a layer cannot be
        packed so that every weight comes back bit for bit, with the layer's name and what to do.
        Nothing is written then.)");
  m.def(
      "generate",
      [](const Model& model, const std::vector<int64_t>& prompt, int64_t max_new_tokens,
         double temperature, int64_t top_k, double top_p, uint64_t seed,
         const std::vector<int64_t>& stop, const py::object& progress) {
        GenerateOptions options{max_new_tokens,         temperature, top_k, top_p, seed, stop,
                                make_progress(progress)};
        py::gil_scoped_release release;
        return generate(model, prompt, options);
      },
      py::arg("model"), py::arg("prompt"), py::arg("max_new_tokens") = 64,
      py::arg("temperature") = 0.0, py::arg("top_k") = 0, py::arg("top_p") = 1.0,
      py::arg("seed") = 0, py::arg("stop") = std::vector<int64_t>(),
      py::arg("progress") = py::none(),
      R"(Continues a prompt with cached keys and values.

Args:
    prompt: Token ids, at least one.
    max_new_tokens: Most ids to add.
    temperature: 0 = greedy.
    top_k: Sample among the k likeliest; 0 = all.
    top_p: Sample within this probability mass.
    seed: Of this call's own random numbers.
    stop: Ids that end the text.

Returns:
    The new ids.

Raises:
    ValueError: Prompt and new tokens exceed the model's positions.)");
}

}  // namespace cupel::python
