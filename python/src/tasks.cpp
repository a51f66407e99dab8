#include "bindings.h"

namespace cupel::python {

namespace {

using Strings = std::vector<std::string>;

std::string type_name(const py::handle& object) {
  return py::str(py::type::of(object).attr("__name__")).cast<std::string>();
}

// A member of an item, be it a key or an attribute; empty when there is none.
py::object member(const py::object& item, const char* name) {
  if (py::isinstance<py::dict>(item)) return item.attr("get")(name);
  return py::getattr(item, name, py::none());
}

// An item as evaluate() sees it: its id (else its number) and category.
TaskItem as_item(const py::object& object, std::size_t number) {
  if (py::isinstance<TaskItem>(object)) return object.cast<TaskItem>();
  TaskItem item{std::to_string(number), ""};
  const py::object id = member(object, "id"), category = member(object, "category");
  if (!id.is_none()) item.id = py::str(id).cast<std::string>();
  if (!category.is_none()) item.category = py::str(category).cast<std::string>();
  return item;
}

TaskRequest as_request(const py::handle& object) {
  if (py::isinstance<TaskRequest>(object)) return object.cast<TaskRequest>();
  if (py::isinstance<GenerationRequest>(object)) {
    return TaskRequest::generate(object.cast<GenerationRequest>());
  }
  if (py::isinstance<py::tuple>(object) && py::len(object) == 2) {
    auto [context, continuation] = object.cast<ScoredPair>();
    return TaskRequest::log_likelihood(std::move(context), std::move(continuation));
  }
  throw py::type_error(c10::str(
      "[Task] a request is a TaskRequest, a GenerationRequest or a (context, continuation) "
      "tuple. Got ",
      type_name(object), "."));
}

// What evaluate() calls of a class written in Python. Items go back to it as load() gave them.
class PyTask : public Task {
 public:
  TaskInfo info() const override { return get_defined<Task, TaskInfo>(this, "Task", "info"); }

  void set_measure(const TextMeasure& measure) override {
    PYBIND11_OVERRIDE(void, Task, set_measure, measure);
  }

  std::vector<TaskItem> load(const std::string& path, const TaskOptions& options) override {
    const py::gil_scoped_acquire gil;
    const py::object loaded = method("load")(path, options.values());
    auto given = std::make_shared<std::map<std::string, std::shared_ptr<py::object>>>();
    std::vector<TaskItem> items;
    for (const py::handle& entry : loaded) {
      const auto object = py::reinterpret_borrow<py::object>(entry);
      items.push_back(as_item(object, items.size()));
      (*given)[items.back().id] = hold(object);
    }
    given_ = given;
    return items;
  }

  std::vector<TaskRequest> requests(const TaskItem& item, const std::string& protocol,
                                    const std::vector<TaskOutput>& outputs) const override {
    const py::gil_scoped_acquire gil;
    std::vector<TaskRequest> requests;
    const py::object made = method("requests")(original(item), protocol, outputs);
    if (made.is_none()) return requests;
    for (const py::handle& request : made) requests.push_back(as_request(request));
    return requests;
  }

  ItemScore score(const TaskItem& item, const std::string& protocol,
                  const std::vector<TaskOutput>& outputs) const override {
    const py::gil_scoped_acquire gil;
    const py::object made = method("score")(original(item), protocol, outputs);
    ItemScore score;
    if (py::isinstance<py::dict>(made)) {
      score.values = made.cast<std::map<std::string, double>>();
    } else {
      score = made.cast<ItemScore>();
    }
    score.id = item.id;
    score.category = item.category;
    return score;
  }

  std::map<std::string, double> aggregate(const std::vector<ItemScore>& scores,
                                          const std::string& protocol) const override {
    using Values = std::map<std::string, double>;
    PYBIND11_OVERRIDE(Values, Task, aggregate, scores, protocol);
  }

 private:
  py::function method(const char* name) const {
    py::function found = py::get_override(static_cast<const Task*>(this), name);
    check(static_cast<bool>(found), "Task", "a subclass defines ", name, ".");
    return found;
  }

  py::object original(const TaskItem& item) const {
    if (given_) {
      const auto found = given_->find(item.id);
      if (found != given_->end()) return *found->second;
    }
    return py::cast(item);
  }

  std::shared_ptr<const std::map<std::string, std::shared_ptr<py::object>>> given_;
};

// A task that lives as long as its Python object is needed.
std::shared_ptr<Task> as_task(const py::object& object, const std::string& name) {
  if (!py::isinstance<Task>(object)) {
    throw py::type_error(c10::str("[add_task] the factory of ", name,
                                  " must make a cupel.Task. Got ", type_name(object), "."));
  }
  return {object.cast<Task*>(), [held = hold(object)](Task*) {}};
}

void bind_data(py::module_& m) {
  py::class_<TaskItem>(m, "TaskItem", R"(One question of a task.

Fields are read as item["name"] or item.name: a string, or a list of strings where there are several
values; text() and list() say which of both.)")
      .def(py::init([](const std::string& id, const std::string& category, const py::dict& fields) {
             TaskItem item{id, category};
             for (const auto& [name, value] : fields) {
               item.fields[name.cast<std::string>()] = py::isinstance<py::str>(value)
                                                           ? Strings{value.cast<std::string>()}
                                                           : value.cast<Strings>();
             }
             return item;
           }),
           py::arg("id"), py::arg("category") = "", py::arg("fields") = py::dict())
      .def_readonly("id", &TaskItem::id)
      .def_readonly("category", &TaskItem::category)
      .def_readonly("fields", &TaskItem::fields, "dict: name -> list of strings")
      .def("text", &TaskItem::text, py::arg("field"), "The only value of a field.")
      .def("list", &TaskItem::list, py::arg("field"), "Every value of a field.")
      .def("__contains__", [](const TaskItem& item,
                              const std::string& name) { return item.fields.count(name) > 0; })
      .def("keys",
           [](const TaskItem& item) {
             Strings names;
             for (const auto& field : item.fields) names.push_back(field.first);
             return names;
           })
      .def("__getitem__",
           [](const TaskItem& item, const std::string& name) -> py::object {
             const auto found = item.fields.find(name);
             if (found == item.fields.end()) throw py::key_error(name);
             if (found->second.size() == 1) return py::cast(found->second.front());
             return py::cast(found->second);
           })
      .def("__getattr__",
           [](const TaskItem& item, const std::string& name) -> py::object {
             const auto found = item.fields.find(name);
             if (found == item.fields.end()) throw py::attribute_error(name);
             if (found->second.size() == 1) return py::cast(found->second.front());
             return py::cast(found->second);
           })
      .def("__repr__", [](const TaskItem& item) {
        return py::str("TaskItem(id={!r}, category={!r}, fields={!r})")
            .format(item.id, item.category, item.fields);
      });

  py::class_<TaskRequest>(m, "TaskRequest", "What a task asks of a scorer.")
      .def_static("log_likelihood", &TaskRequest::log_likelihood, py::arg("context"),
                  py::arg("continuation"), "How likely the continuation is after the context.")
      .def_static("rolling", &TaskRequest::rolling, py::arg("text"), "How likely a text is.")
      .def_static("generate", &TaskRequest::generate, py::arg("request"),
                  "What follows: a GenerationRequest, whose seed evaluate() sets.")
      .def_property_readonly("kind",
                             [](const TaskRequest& request) {
                               const char* names[] = {"log_likelihood", "rolling", "generate"};
                               return names[static_cast<int>(request.kind)];
                             })
      .def_readonly("context", &TaskRequest::context)
      .def_readonly("continuation", &TaskRequest::continuation)
      .def_readonly("text", &TaskRequest::text)
      .def_readonly("generation", &TaskRequest::generation);

  py::class_<TaskOutput>(m, "TaskOutput", "The answer to one request.")
      .def(py::init([](const LogLikelihood& likelihood, const Generation& generation) {
             return TaskOutput{likelihood, generation};
           }),
           py::arg("likelihood") = LogLikelihood{}, py::arg("generation") = Generation{})
      .def_readonly("likelihood", &TaskOutput::likelihood, "of log_likelihood and rolling requests")
      .def_readonly("generation", &TaskOutput::generation, "of generate requests");

  py::class_<ItemScore>(m, "ItemScore", R"(How an item went by one protocol.

Args:
    values: Name -> finite number, e.g. {"accuracy": 1.0}.
    prediction, gold: As the protocol reads them.
    flags: What was out of the ordinary; each is counted.)")
      .def(py::init([](const std::map<std::string, double>& values, const std::string& prediction,
                       const std::string& gold, const Strings& flags, const std::string& id,
                       const std::string& category) {
             return ItemScore{id, category, prediction, gold, values, flags};
           }),
           py::arg("values") = std::map<std::string, double>(), py::arg("prediction") = "",
           py::arg("gold") = "", py::arg("flags") = Strings(), py::arg("id") = "",
           py::arg("category") = "")
      .def_readonly("id", &ItemScore::id)
      .def_readonly("category", &ItemScore::category)
      .def_readonly("prediction", &ItemScore::prediction)
      .def_readonly("gold", &ItemScore::gold)
      .def_readonly("values", &ItemScore::values)
      .def_readonly("flags", &ItemScore::flags)
      .def("__repr__", [](const ItemScore& s) {
        return py::str(
                   "ItemScore(id={!r}, category={!r}, prediction={!r}, gold={!r}, values={!r}, "
                   "flags={!r})")
            .format(s.id, s.category, s.prediction, s.gold, s.values, s.flags);
      });

  py::class_<TaskInfo>(m, "TaskInfo", R"(What a task says of itself.

Args:
    name: Its name.
    version: Changes when the same file gives other requests or scores.
    description: One line.
    protocols: Ways to ask or to score; each gives metrics of its own.
    options: Name -> (default, help), or name -> default; a value is a string.
    data: Default file or folder below evaluate(data=...).)")
      .def(py::init([](const std::string& name, const std::string& version,
                       const std::string& description, const Strings& protocols,
                       const py::dict& options, const std::string& data) {
             TaskInfo info{name, version, description, protocols, {}, data};
             for (const auto& [option, value] : options) {
               const bool helped = py::isinstance<py::tuple>(value);
               const auto pair =
                   py::make_tuple(py::str(helped ? value[py::int_(0)] : py::object(py::str(value))),
                                  py::str(helped ? value[py::int_(1)] : py::object(py::str(""))));
               info.options.push_back({option.cast<std::string>(), pair[0].cast<std::string>(),
                                       pair[1].cast<std::string>()});
             }
             return info;
           }),
           py::arg("name"), py::arg("version") = "1", py::arg("description") = "",
           py::arg("protocols") = Strings{"strict"}, py::arg("options") = py::dict(),
           py::arg("data") = "")
      .def_readonly("name", &TaskInfo::name)
      .def_readonly("version", &TaskInfo::version)
      .def_readonly("description", &TaskInfo::description)
      .def_readonly("protocols", &TaskInfo::protocols)
      .def_property_readonly(
          "options",
          [](const TaskInfo& info) {
            py::dict options;
            for (const auto& option : info.options) {
              options[py::str(option.name)] = py::make_tuple(option.value, option.help);
            }
            return options;
          },
          "dict: name -> (default, help)")
      .def_readonly("data", &TaskInfo::data);
}

}  // namespace

void bind_tasks(py::module_& m) {
  bind_data(m);
  py::class_<Task, PyTask, std::shared_ptr<Task>>(m, "Task", R"(Data -> requests -> scores.

A subclass defines
    info: a TaskInfo, or a method that returns one;
    load(path, options): the items, in the order in which they run: dicts or objects, each with an
        "id" of its own (else its number is taken) and perhaps a "category";
    requests(item, protocol, outputs): what is asked next, given the outputs of all that was asked
        before: (context, continuation) tuples, GenerationRequests or TaskRequests; none ends the item;
    score(item, protocol, outputs): an ItemScore, or a dict of values;
and perhaps aggregate(scores, protocol), a dict of metrics; by default the means of the values; and
set_measure(measure), a TextMeasure, called before load() for tasks whose prompts depend on token
counts.
options is a dict of strings: the defaults of info and what the user gave.)")
      .def(py::init<>())
      .def("info", &Task::info, "TaskInfo")
      .def("set_measure", &Task::set_measure, py::arg("measure"),
           "Token counts for tasks whose prompts depend on them; before load().")
      .def(
          "load",
          [](Task& task, const py::object& path,
             const std::map<std::string, std::string>& options) {
            const TaskInfo info = task.info();
            std::map<std::string, std::string> values;
            for (const auto& option : info.options) values[option.name] = option.value;
            for (const auto& [name, value] : options) values[name] = value;
            return task.load(as_path(path), TaskOptions(info.name, values));
          },
          py::arg("path"), py::arg("options") = std::map<std::string, std::string>(),
          "list[TaskItem]; FormatError naming file and line for bad data.")
      .def("requests", &Task::requests, py::arg("item"), py::arg("protocol") = "strict",
           py::arg("outputs") = std::vector<TaskOutput>(), "list[TaskRequest]")
      .def("score", &Task::score, py::arg("item"), py::arg("protocol"), py::arg("outputs"),
           "ItemScore")
      .def(
          "aggregate",
          [](const Task& task, const std::vector<ItemScore>& scores, const std::string& protocol) {
            return task.aggregate(scores, protocol);
          },
          py::arg("scores"), py::arg("protocol") = "strict", "dict: metric -> value");

  m.def(
      "add_task",
      [](const std::string& name, const py::object& factory) {
        tasks().add(name, [name, held = hold(factory)] {
          const py::gil_scoped_acquire gil;
          return as_task((*held)(), name);
        });
      },
      py::arg("name"), py::arg("factory"),
      "Registers a class, or a function that makes a cupel.Task. ValueError when the name is "
      "taken.");
  m.def(
      "remove_task", [](const std::string& name) { tasks().remove(name); }, py::arg("name"),
      "Forgets a task. ValueError for an unknown one.");
  m.def("tasks", [] { return tasks().names(); }, "Names of the tasks beside perplexity, sorted.");
  m.def(
      "task_info", [](const std::string& name) { return tasks().get(name)()->info(); },
      py::arg("name"), "What a task says of itself, by its name: TaskInfo.");
  m.def(
      "data_sha256", [](const py::object& path) { return data_sha256(as_path(path)); },
      py::arg("path"),
      "SHA-256 of a file's bytes; of a folder, of the names and hashes of the files in it.");
  m.def(
      "make_task", [](const std::string& name) { return tasks().get(name)(); }, py::arg("name"),
      "A task by its name, to look at its items and requests.");
}

}  // namespace cupel::python
