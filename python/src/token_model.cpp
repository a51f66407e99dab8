#include <c10/util/ScopeExit.h>

#include "bindings.h"

namespace cupel::python {

namespace {

using State = TokenModel::State;
using StatePtr = TokenModel::StatePtr;
using Row = TokenModel::Row;

// A state that a Python class made: any object that says its length. May be dropped on any thread.
class PyState : public State {
 public:
  explicit PyState(py::object object)
      : length_(static_cast<int64_t>(py::len(object))), object_(hold(std::move(object))) {}
  int64_t length() const override { return length_; }
  const py::object& object() const { return *object_; }

 private:
  int64_t length_;
  std::shared_ptr<py::object> object_;
};

py::object state_to_python(const StatePtr& state) {
  if (!state) return py::none();
  if (const auto* made = dynamic_cast<const PyState*>(state.get())) return made->object();
  return py::cast(std::const_pointer_cast<State>(state));
}

StatePtr state_from_python(const py::object& state) {
  if (state.is_none()) return nullptr;
  if (py::isinstance<State>(state)) return state.cast<std::shared_ptr<State>>();
  if (!py::hasattr(state, "__len__")) {
    throw py::type_error(c10::str("[TokenModel] a state has a length, __len__, in tokens. Got a ",
                                  py::str(py::type::of(state).attr("__name__")).cast<std::string>(),
                                  "."));
  }
  return std::make_shared<PyState>(state);
}

std::vector<StatePtr> states_from_python(const py::object& states, const std::vector<Row>& rows) {
  std::vector<StatePtr> made(rows.size());
  if (!states.is_none()) {
    const auto list = states.cast<py::sequence>();
    check(list.size() == rows.size(), "TokenModel", "run returns None or an entry for each of ",
          rows.size(), " rows. Got ", list.size(), ".");
    for (std::size_t i = 0; i < rows.size(); ++i) made[i] = state_from_python(list[i]);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    check(!rows[i].keep || made[i], "TokenModel",
          "run returns a state for each row that keeps one. Got None for row ", i, ".");
    if (!rows[i].keep) made[i] = nullptr;
  }
  return made;
}

py::list states_to_python(const std::vector<StatePtr>& states) {
  py::list list;
  for (const auto& state : states) list.append(state_to_python(state));
  return list;
}

// Token ids from a list, or from a 1-D tensor or array.
std::vector<int64_t> as_ids(const py::object& ids) {
  return (py::hasattr(ids, "tolist") ? ids.attr("tolist")() : ids).cast<std::vector<int64_t>>();
}

// Lets Python classes be token models; every call takes the GIL.
class PyTokenModel : public TokenModel {
 public:
  TokenModelInfo info() const override {
    return get_defined<TokenModel, TokenModelInfo>(this, "TokenModel", "info");
  }

  std::vector<StatePtr> run(const std::vector<Row>& rows, const LogitSink& sink) override {
    int64_t wanted = 0;
    for (const auto& row : rows) wanted += check_row(row);
    const py::gil_scoped_acquire gil;
    const py::function function = py::get_override(static_cast<const TokenModel*>(this), "run");
    check(static_cast<bool>(function), "TokenModel", "a subclass defines run(rows, sink).");
    // The sink belongs to this call. A class that keeps it longer gets an error, not a crash.
    int64_t next = 0;
    const auto open = std::make_shared<bool>(true);
    const py::cpp_function piece(
        [open, &sink, &next](int64_t first, const torch::Tensor& logits) {
          check(*open, "TokenModel", "a sink is used within the run that it was given to.");
          check(first == next, "TokenModel", "logits come in order, without gaps. Got those from ",
                first, " on where ", next, " is next.");
          check(logits.dim() == 2, "TokenModel", "logits are [rows, vocabulary]. Got ",
                logits.sizes(), ".");
          next += logits.size(0);
          const py::gil_scoped_release release;
          sink(first, logits.detach().to(torch::kFloat));
        },
        py::arg("first"), py::arg("logits"));
    const auto close = c10::make_scope_exit([&] { *open = false; });
    std::vector<StatePtr> states = states_from_python(function(rows, piece), rows);
    check(next == wanted, "TokenModel", "run gives the logits of every wanted position, once. Got ",
          next, " of ", wanted, ".");
    return states;
  }

  torch::Tensor decode(const std::vector<int64_t>& ids, std::vector<StatePtr>& states) override {
    {
      const py::gil_scoped_acquire gil;
      const py::function function =
          py::get_override(static_cast<const TokenModel*>(this), "decode");
      if (function) {
        const auto made = function(ids, states_to_python(states)).cast<py::sequence>();
        check(made.size() == 2, "TokenModel", "decode returns logits and states.");
        const std::vector<Row> rows(ids.size(), Row{.tokens = {0}, .keep = true});
        states = states_from_python(made[1], rows);
        return made[0].cast<torch::Tensor>().detach().to(torch::kFloat);
      }
    }
    return TokenModel::decode(ids, states);
  }

 private:
  static int64_t check_row(const Row& row) {
    const auto length = static_cast<int64_t>(row.tokens.size());
    check(length >= 1, "TokenModel", "a row has a token.");
    int64_t last = -1;
    for (const int64_t position : row.wanted) {
      check(position > last && position < length, "TokenModel",
            "wanted positions ascend and lie in [0, ", length, "). Got ", position, " after ", last,
            ".");
      last = position;
    }
    return static_cast<int64_t>(row.wanted.size());
  }
};

// Keeps the model alive that it refers to.
struct OwningNativeTokenModel : NativeTokenModel {
  explicit OwningNativeTokenModel(std::shared_ptr<Model> m)
      : NativeTokenModel(*m), model(std::move(m)) {}
  std::shared_ptr<Model> model;
};

std::shared_ptr<CallableTokenModel> make_callable(const py::object& function, int64_t vocabulary,
                                                  int64_t max_length,
                                                  const std::string& fingerprint,
                                                  const py::object& device,
                                                  const std::string& dtype) {
  const py::object made =
      py::module_::import("cupel._modules").attr("token_function")(function, device, dtype);
  const auto held = hold(made);
  return std::make_shared<CallableTokenModel>(
      [held](const torch::Tensor& tokens) {
        const py::gil_scoped_acquire gil;
        return (*held)(tokens).cast<torch::Tensor>();
      },
      TokenModelInfo{.vocabulary = vocabulary,
                     .max_length = max_length,
                     .device = made.attr("device").cast<std::string>(),
                     .dtype = made.attr("dtype").cast<std::string>(),
                     .fingerprint = fingerprint});
}

void bind_info(py::module_& m) {
  py::class_<TokenModelInfo>(m, "TokenModelInfo", "What a token model says of itself.")
      .def(
          py::init([](int64_t vocabulary, int64_t max_length, std::string device, std::string dtype,
                      std::string fingerprint, bool has_states, int64_t state_bytes) {
            return TokenModelInfo{
                vocabulary, max_length, std::move(device), std::move(dtype), std::move(fingerprint),
                has_states, state_bytes};
          }),
          py::arg("vocabulary"), py::arg("max_length"), py::kw_only(), py::arg("device") = "cpu",
          py::arg("dtype") = "float32", py::arg("fingerprint") = "", py::arg("has_states") = false,
          py::arg("state_bytes") = 0)
      .def_readonly("vocabulary", &TokenModelInfo::vocabulary)
      .def_readonly("max_length", &TokenModelInfo::max_length,
                    "most tokens of one sequence, state included")
      .def_readonly("device", &TokenModelInfo::device)
      .def_readonly("dtype", &TokenModelInfo::dtype)
      .def_readonly("fingerprint", &TokenModelInfo::fingerprint,
                    "SHA-256 of the weights as they were when asked; '' when unknown")
      .def_readonly("has_states", &TokenModelInfo::has_states)
      .def_readonly("state_bytes", &TokenModelInfo::state_bytes,
                    "memory of one token in a state; 0 when unknown")
      .def("__repr__", [](const TokenModelInfo& i) {
        return c10::str("<TokenModelInfo vocabulary=", i.vocabulary, " max_length=", i.max_length,
                        " device=", i.device, " dtype=", i.dtype,
                        " fingerprint=", i.fingerprint.substr(0, 12),
                        " has_states=", i.has_states ? "True" : "False", ">");
      });
}

}  // namespace

std::shared_ptr<TokenModel> as_token_model(const py::object& model) {
  if (py::isinstance<Model>(model)) {
    return std::make_shared<OwningNativeTokenModel>(model.cast<std::shared_ptr<Model>>());
  }
  py::object own = model;
  if (!py::isinstance<TokenModel>(own)) {
    // transformers' models, and those that wrap one.
    if (py::hasattr(own, "get_output_embeddings") && py::hasattr(own, "config")) {
      own = py::module_::import("cupel.huggingface").attr("TokenModel")(own);
    } else {
      const std::string kind = py::str(py::type::of(own).attr("__name__"));
      throw py::type_error(
          PyCallable_Check(own.ptr())
              ? c10::str("[TokenModel] a function or module of your own says its sizes: "
                         "cupel.CallableTokenModel(f, vocabulary=, max_length=). Got a bare ",
                         kind, ".")
              : c10::str("[TokenModel] a model is a cupel.Model, a cupel.TokenModel or a causal "
                         "language model of transformers. Got ",
                         kind, "."));
    }
  }
  auto* pointer = own.cast<TokenModel*>();
  // The Python object holds the overrides, so it must live as long as the C++ side is used.
  return {pointer, [held = hold(std::move(own))](TokenModel*) {}};
}

void bind_token_model(py::module_& m) {
  bind_info(m);
  py::class_<TokenModel, PyTokenModel, std::shared_ptr<TokenModel>> model(
      m, "TokenModel", R"(Tokens -> next-token logits: what an evaluation needs of a model.

A subclass defines info() -> TokenModelInfo and run(rows, sink), and may define
decode(ids, states) -> (logits, states), one token after each state, where a row's bytes must not
depend on the other rows. run gives sink(first, logits) the logits [n, vocabulary] of the wanted
positions first .. first + n - 1, counted through the rows, in order and in as many pieces as it
likes, and returns None or a list with the state behind each row that keeps one. A state is any
object whose len() is the number of its tokens. A model whose info says has_states=False gets rows
without states.)");
  py::class_<Row>(model, "Row", "One sequence of a run.")
      .def(py::init([](const py::object& tokens, const py::object& wanted, const py::object& state,
                       bool keep) {
             return Row{as_ids(tokens), as_ids(wanted), state_from_python(state), keep};
           }),
           py::arg("tokens"), py::arg("wanted") = py::list(), py::arg("state") = py::none(),
           py::arg("keep") = false)
      .def_readonly("tokens", &Row::tokens)
      .def_readonly("wanted", &Row::wanted, "positions in tokens whose logits are wanted")
      .def_property_readonly("state", [](const Row& row) { return state_to_python(row.state); })
      .def_readonly("keep", &Row::keep, "the state behind the last token is wanted");
  py::class_<State, std::shared_ptr<State>>(model, "State", "Tokens already run.")
      .def("__len__", &State::length);

  model.def(py::init<>())
      .def("info", &TokenModel::info, py::call_guard<py::gil_scoped_release>(),
           "TokenModelInfo. Costs a pass over the weights where there is a fingerprint.")
      .def(
          "run",
          [](TokenModel& self, const std::vector<Row>& rows, const py::function& sink) {
            std::vector<StatePtr> states;
            {
              const py::gil_scoped_release release;
              states = self.run(rows, [&](int64_t first, const torch::Tensor& logits) {
                const py::gil_scoped_acquire gil;
                sink(first, logits);
              });
            }
            return states_to_python(states);
          },
          py::arg("rows"), py::arg("sink"), "Runs rows together; see the class.")
      .def(
          "decode",
          [](TokenModel& self, const std::vector<int64_t>& ids, const py::list& states) {
            std::vector<StatePtr> moved;
            for (const auto& state : states) {
              moved.push_back(state_from_python(py::reinterpret_borrow<py::object>(state)));
            }
            torch::Tensor logits;
            {
              const py::gil_scoped_release release;
              logits = self.decode(ids, moved);
            }
            return std::make_pair(logits, states_to_python(moved));
          },
          py::arg("ids"), py::arg("states"),
          "One token after each state: (logits float32 [ids, vocabulary], the new states).")
      .def(
          "logits",
          [](TokenModel& self, const py::object& tokens, const py::object& wanted,
             const py::object& state) {
            Row row{.tokens = as_ids(tokens), .state = state_from_python(state)};
            if (wanted.is_none()) {
              for (std::size_t i = 0; i < row.tokens.size(); ++i) {
                row.wanted.push_back(static_cast<int64_t>(i));
              }
            } else {
              row.wanted = as_ids(wanted);
            }
            const py::gil_scoped_release release;
            return self.logits({row});
          },
          py::arg("tokens"), py::arg("wanted") = py::none(), py::arg("state") = py::none(),
          R"(Logits of one sequence.

Args:
    tokens: Ids, a list or a 1-D tensor.
    wanted: Positions in tokens, ascending; None = all.
    state: What prefill returned for the tokens before; None = none.

Returns:
    float32 [wanted, vocabulary])")
      .def(
          "prefill",
          [](TokenModel& self, const py::object& tokens, const py::object& parent) {
            const std::vector<int64_t> ids = as_ids(tokens);
            StatePtr state = state_from_python(parent);
            {
              const py::gil_scoped_release release;
              state = self.prefill(ids, state);
            }
            return state_to_python(state);
          },
          py::arg("tokens"), py::arg("parent") = py::none(),
          "The state behind tokens after parent; len() says for how many tokens it stands.");

  py::class_<OwningNativeTokenModel, TokenModel, std::shared_ptr<OwningNativeTokenModel>>(
      m, "NativeTokenModel", py::is_final(),
      "cupel's own decoder as a token model. Every function that takes a token model makes this of "
      "a cupel.Model.")
      .def(py::init<std::shared_ptr<Model>>(), py::arg("model"));

  py::class_<CallableTokenModel, TokenModel, std::shared_ptr<CallableTokenModel>>(
      m, "CallableTokenModel", py::is_final(), R"(Any function as a token model without states.

Args:
    function: int64 [1, length] -> logits [1, length, vocabulary] or [length, vocabulary], or an
        object that has them as .logits. A torch.nn.Module does as well; it is called in evaluation
        mode and without gradients.
    vocabulary: Width of the logits.
    max_length: Most tokens of a sequence.
    fingerprint: What tells these weights from others, for records; "" = unknown.
    device: Where the tokens are handed over; None = where the module's first parameter is, else
        "cpu".
    dtype: For records; "" = that of the module's first parameter, else "float32".

Raises:
    TypeError: Not callable, or a call that returns no tensor.
    ValueError: Logits of another shape.)")
      .def(py::init(&make_callable), py::arg("function"), py::kw_only(), py::arg("vocabulary"),
           py::arg("max_length"), py::arg("fingerprint") = "", py::arg("device") = py::none(),
           py::arg("dtype") = "");
}

}  // namespace cupel::python
