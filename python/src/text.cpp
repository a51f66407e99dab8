#include "bindings.h"

namespace cupel::python {

namespace {

// Lets Python classes be tokenizers; every call takes the GIL.
class PyTokenizer : public Tokenizer {
 public:
  std::vector<int64_t> encode(const std::string& text, bool special_tokens) const override {
    PYBIND11_OVERRIDE_PURE(std::vector<int64_t>, Tokenizer, encode, text, special_tokens);
  }
  std::string decode(const std::vector<int64_t>& ids) const override {
    PYBIND11_OVERRIDE_PURE(std::string, Tokenizer, decode, ids);
  }
  int64_t vocabulary() const override { return get<int64_t>("vocabulary"); }
  int64_t bos() const override { return get<int64_t>("bos"); }
  int64_t eos() const override { return get<int64_t>("eos"); }
  std::string fingerprint() const override { return get<std::string>("fingerprint"); }

 private:
  // These are properties on both sides, which the override macros do not know.
  template <typename Value>
  Value get(const char* name) const {
    py::gil_scoped_acquire gil;
    const py::object self = py::cast(static_cast<const Tokenizer*>(this));
    // The base class's own property would come straight back here.
    if (py::type::of(self).attr(name).is(py::type::of<Tokenizer>().attr(name))) {
      throw std::invalid_argument(
          c10::str("[Tokenizer] a subclass defines the property ", name, "."));
    }
    return self.attr(name).cast<Value>();
  }
};

}  // namespace

std::shared_ptr<Tokenizer> as_tokenizer(const py::object& tokenizer) {
  py::object own = tokenizer;
  if (!py::isinstance<Tokenizer>(own)) {
    own = py::module_::import("cupel.huggingface").attr("Tokenizer")(tokenizer);
  }
  // The Python object holds the overrides, so it must live as long as the C++ side is used.
  auto* pointer = own.cast<Tokenizer*>();
  return std::shared_ptr<Tokenizer>(pointer, [own = std::move(own)](Tokenizer*) mutable {
    py::gil_scoped_acquire gil;
    own = py::object();
  });
}

void bind_text(py::module_& m) {
  bind_chat(m);
  py::class_<Tokenizer, PyTokenizer, std::shared_ptr<Tokenizer>>(
      m, "Tokenizer",
      "Text <-> token ids. Subclasses define encode, decode and the properties vocabulary, bos, "
      "eos (-1 = none) and fingerprint.")
      .def(py::init<>())
      .def("encode", &Tokenizer::encode, py::arg("text"), py::arg("special_tokens") = true,
           py::call_guard<py::gil_scoped_release>(),
           "Token ids of text; with special_tokens what the tokenizer's configuration adds, once.")
      .def("decode", &Tokenizer::decode, py::arg("ids"), py::call_guard<py::gil_scoped_release>(),
           "Text of ids; special tokens give no text. ValueError for an id out of range.")
      .def_property_readonly("vocabulary", &Tokenizer::vocabulary, "Number of ids")
      .def_property_readonly("bos", &Tokenizer::bos, "-1 when there is none")
      .def_property_readonly("eos", &Tokenizer::eos, "-1 when there is none")
      .def_property_readonly("fingerprint", &Tokenizer::fingerprint, "SHA-256, for provenance");

  m.def(
      "load_tokenizer",
      [](const py::object& path) {
        return std::shared_ptr<Tokenizer>(load_tokenizer(as_path(path)));
      },
      py::arg("path"), R"(The SentencePiece tokenizer of a model folder, or of a .model file.

Every function of cupel that takes a tokenizer takes any Hugging Face tokenizer as well.

Args:
    path: Folder with tokenizer.model (and tokenizer_config.json), or the .model file.

Raises:
    FormatError: No such file, or a damaged one; names the field and the rule.)");
}

}  // namespace cupel::python
