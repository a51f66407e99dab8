#include "bindings.h"

namespace cupel::python {

namespace {

using Strings = std::vector<std::string>;
using Fields = std::map<std::string, Strings>;

JudgeReply as_reply(const py::handle& object) {
  if (py::isinstance<JudgeReply>(object)) return object.cast<JudgeReply>();
  if (py::isinstance<py::str>(object)) return {.text = object.cast<std::string>()};
  throw py::type_error(c10::str("[judge] a reply is a str or a JudgeReply. Got ",
                                py::str(py::type::of(object).attr("__name__")).cast<std::string>(),
                                "."));
}

// What judge() calls of a class written in Python.
class PyJudge : public Judge {
 public:
  JudgeInfo info() const override { return get_defined<Judge, JudgeInfo>(this, "Judge", "info"); }

  void reply(const std::vector<JudgeRequest>& requests, const ReplySink& sink) override {
    const py::gil_scoped_acquire gil;
    const py::function own = py::get_override(static_cast<const Judge*>(this), "reply");
    check(static_cast<bool>(own), "Judge", "a subclass defines reply.");
    int64_t next = 0;
    for (const py::handle made : own(requests)) {
      if (made.is_none()) {  // it waits
        still_working();
      } else if (py::isinstance<py::tuple>(made) && py::len(made) == 2) {
        const auto pair = py::reinterpret_borrow<py::tuple>(made);
        sink(pair[0].cast<int64_t>(), as_reply(pair[1]));
      } else {
        sink(next++, as_reply(made));
      }
    }
  }
};

// A judge that lives as long as its Python object is needed.
std::shared_ptr<Judge> as_judge(const py::object& object) {
  if (py::isinstance<Judge>(object)) {
    return {object.cast<Judge*>(), [held = hold(object)](Judge*) {}};
  }
  if (!PyCallable_Check(object.ptr())) {
    throw py::type_error(
        c10::str("[judge] a judge is a cupel.Judge or a function of a JudgeRequest. Got ",
                 py::str(py::type::of(object).attr("__name__")).cast<std::string>(), "."));
  }
  const std::string name = py::str(py::getattr(object, "__qualname__", py::str("")));
  return std::make_shared<CallableJudge>(
      [held = hold(object)](const JudgeRequest& request) {
        const py::gil_scoped_acquire gil;
        return as_reply((*held)(request));
      },
      JudgeInfo{.name = "function", .model = name});
}

// Keeps the scorer alive beside the judge that refers to it.
struct HeldScorer {
  std::shared_ptr<Scorer> scorer;
};
class OwningLocalJudge : private HeldScorer, public LocalJudge {
 public:
  OwningLocalJudge(const py::object& s, const py::object& chat, const py::object& stop,
                   const py::object& name, int64_t batch)
      : HeldScorer{as_scorer(s)},
        LocalJudge(*HeldScorer::scorer, as_chat(chat, stop),
                   {.name = name_of(chat, name), .batch = batch}) {}

 private:
  static ChatTemplate as_chat(const py::object& chat, const py::object& stop) {
    if (!py::isinstance<py::str>(chat)) return as_chat_template(chat, stop, py::none());
    ChatTemplate found = chat_templates().get(chat.cast<std::string>());
    if (!stop.is_none()) found.stop = stop.cast<Strings>();
    return found;
  }

  static std::string name_of(const py::object& chat, const py::object& name) {
    if (!name.is_none()) return name.cast<std::string>();
    if (py::isinstance<py::str>(chat)) return chat.cast<std::string>();
    return py::getattr(chat, "name", py::str("")).cast<std::string>();
  }
};

void bind_parsers(py::module_& m) {
  m.def(
      "judge_parsers",
      [] {
        std::map<std::string, std::string> found;
        for (const auto& name : judge_parsers().names()) {
          found[name] = judge_parsers().get(name).description;
        }
        return found;
      },
      "dict: name of each parser -> what it reads.");
  m.def(
      "read_grades",
      [](const std::string& parser, const std::string& reply) {
        return judge_parsers().get(parser).read(reply);
      },
      py::arg("parser"), py::arg("reply"),
      "JudgeGrades of a reply. ValueError for an unknown parser.");
  m.def(
      "add_judge_parser",
      [](const std::string& name, const py::object& function, const Strings& grades,
         int64_t assistants, double lowest, double highest, const std::string& description) {
        check(!grades.empty(), "add_judge_parser", "a parser has a grade at least.");
        check(assistants == 1 || assistants == 2, "add_judge_parser", "assistants is 1 or 2. Got ",
              assistants, ".");
        check(lowest < highest, "add_judge_parser", "lowest is below highest. Got ", lowest,
              " and ", highest, ".");
        judge_parsers().add(
            name, {.description = description,
                   .grades = grades,
                   .assistants = assistants,
                   .lowest = lowest,
                   .highest = highest,
                   .parse = [held = hold(function)](const std::string& reply) {
                     const py::gil_scoped_acquire gil;
                     const py::object made = (*held)(reply);
                     if (py::isinstance<JudgeGrades>(made)) {
                       return made.cast<JudgeGrades>();
                     }
                     if (made.is_none()) return JudgeGrades{.unparsed = "no grade"};
                     if (py::isinstance<py::float_>(made) || py::isinstance<py::int_>(made)) {
                       return JudgeGrades{.values = {made.cast<double>()}};
                     }
                     return JudgeGrades{.values = made.cast<std::vector<double>>()};
                   }});
      },
      py::arg("name"), py::arg("function"), py::kw_only(), py::arg("grades") = Strings{"score"},
      py::arg("assistants") = 1, py::arg("lowest") = 1.0, py::arg("highest") = 10.0,
      py::arg("description") = "",
      R"(Registers a function that reads a judge's replies.

Args:
    name: For judge(parser=...).
    function: Text -> number, list of numbers (grade by grade, within it assistant by assistant),
        JudgeGrades, or None where there is no grade.
    grades: Names of the grades; ["preference"] for 1, 0.5 or 0 for each of two.
    assistants: Answers graded in one reply, 1 or 2.
    lowest, highest: The scale, for the bounds of what is unparsed.

Raises:
    ValueError: The name is taken.)");
  m.def(
      "remove_judge_parser", [](const std::string& name) { judge_parsers().remove(name); },
      py::arg("name"), "Forgets a parser. ValueError for an unknown one.");
}

}  // namespace

void bind_judge(py::module_& m) {
  bind_judge_requests(m);
  bind_parsers(m);
  bind_judge_results(m);
  py::class_<Judge, PyJudge, std::shared_ptr<Judge>>(m, "Judge", R"(Reads prompts, writes grades.

A subclass defines
    info: a JudgeInfo, or a method that returns one;
    reply(requests): an iterable of replies, each a str or a JudgeReply, in the order of the
        requests; or of (index, reply), in any order, each index once. What it has given is on the
        disk before it is asked for the next, so a generator that takes its time loses nothing. None
        says that it waits.)")
      .def(py::init<>())
      .def("info", &Judge::info, "JudgeInfo");
  // It has a base that is not bound, so its Judge does not lie at its beginning.
  py::class_<OwningLocalJudge, Judge, std::shared_ptr<OwningLocalJudge>>(
      m, "LocalJudge", py::multiple_inheritance(), R"(A model of your own as a judge.

Args:
    scorer: A cupel.Scorer, such as ModelScorer(model, tokenizer).
    template: Name of a chat template, what chat_template() returns, or a function of messages.
        A system text that it leaves out of its prompt stands in front of the question instead.
    stop: A reply ends before the first of these; None = those of the template.
    name: Of the template, for the record; None = its own.
    batch: Requests that run together.)")
      .def(py::init<const py::object&, const py::object&, const py::object&, const py::object&,
                    int64_t>(),
           py::arg("scorer"), py::arg("template") = "vicuna_v1.1", py::kw_only(),
           py::arg("stop") = py::none(), py::arg("name") = py::none(), py::arg("batch") = 16);
  const JudgeOptions defaults;
  m.def(
      "judge",
      [](const py::object& records, const py::object& judge_object, const std::string& mode,
         const py::object& templates, const std::string& parser, const py::object& references,
         const Strings& reference_categories, const py::object& against, const std::string& order,
         const Strings& tasks, const std::string& protocol, const py::object& data,
         const py::object& out, const py::object& replies, const std::string& on_error,
         int64_t repeats, uint64_t seed, double temperature, int64_t max_tokens, int64_t limit,
         const py::object& progress) {
        const auto path = [](const py::object& value) {
          return value.is_none() ? std::string() : as_path(value);
        };
        const auto places = [&](const py::object& value) {
          if (value.is_none()) return Strings();
          if (!py::isinstance<py::list>(value) && !py::isinstance<py::tuple>(value)) {
            return Strings{as_path(value)};
          }
          Strings all;
          for (const py::handle one : value) {
            all.push_back(as_path(py::reinterpret_borrow<py::object>(one)));
          }
          return all;
        };
        const JudgeOptions options{.mode = mode,
                                   .templates = path(templates),
                                   .parser = parser,
                                   .references = path(references),
                                   .reference_categories = reference_categories,
                                   .against = path(against),
                                   .order = order,
                                   .tasks = tasks,
                                   .protocol = protocol,
                                   .data = places(data),
                                   .out = path(out),
                                   .replies = path(replies),
                                   .on_error = on_error,
                                   .repeats = repeats,
                                   .seed = seed,
                                   .temperature = temperature,
                                   .max_tokens = max_tokens,
                                   .limit = limit,
                                   .progress = make_progress(progress)};
        const auto own = as_judge(judge_object);
        const std::string folder = as_path(records);
        const py::gil_scoped_release release;
        return judge(folder, *own, options);
      },
      py::arg("records"), py::arg("judge"), py::kw_only(), py::arg("mode") = defaults.mode,
      py::arg("templates") = py::none(), py::arg("parser") = "", py::arg("references") = py::none(),
      py::arg("reference_categories") = defaults.reference_categories,
      py::arg("against") = py::none(), py::arg("order") = defaults.order,
      py::arg("tasks") = Strings(), py::arg("protocol") = "", py::arg("data") = py::none(),
      py::arg("out") = py::none(), py::arg("replies") = py::none(),
      py::arg("on_error") = defaults.on_error, py::arg("repeats") = 1, py::arg("seed") = 0,
      py::arg("temperature") = 0.0, py::arg("max_tokens") = defaults.max_tokens,
      py::arg("limit") = 0, py::arg("progress") = py::none(),
      R"(Asks a judge about the answers that evaluate(record=...) wrote, and scores its replies.

Args:
    records: The --out folder of an evaluation, its records folder, or one record.
    judge: A cupel.Judge (OpenAIJudge, QueueJudge, LocalJudge, your own), or a function of a
        JudgeRequest that returns text.
    mode: "single", "pairwise" or "axes".
    templates: FastChat's judge_prompts.jsonl, or prompt.jsonl with reviewer.jsonl; None = cupel's own.
    parser: One of judge_parsers(); "" = the templates' own.
    references: Reference answers (FastChat's shape); None = the items' field "reference".
    reference_categories: Categories that are judged with a reference.
    against: The other model's records, or a JSONL file of its answers.
    order: "both": each pair in both orders; "first" or "second": where this model stands.
    tasks, protocol: What is judged; by default every record of texts, by its first protocol.
    data: The tasks' data again: the folder given to evaluate(), a file, or a list of such places.
    out: Folder for replies, judgments and scores; the same call goes on with what it holds.
    replies: Another place for the journal of replies; passes that share one ask nothing twice.
    on_error: "stop": failed requests leave the result without scores; "count": they are unparsed.
    repeats, seed: Each question is asked so many times, with seeds that count up.
    temperature, max_tokens: Of replies.
    limit: The first items of each task; 0 = all.
    progress: Called with a Progress; False stops the call.

Returns:
    JudgeResult

Raises:
    ValueError: Options that do not go together; a record that is not finished, or whose data are
        others; replies of another judge in `out`.
    FormatError: A bad file.)");
}

}  // namespace cupel::python
