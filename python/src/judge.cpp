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

void bind_data(py::module_& m) {
  py::class_<JudgeRequest>(m, "JudgeRequest", "One question to a judge.")
      .def(py::init([](const std::string& prompt, const std::string& system, double temperature,
                       uint64_t seed, int64_t max_tokens, const std::string& item_id,
                       const std::string& task, int64_t turn, const std::string& category) {
             JudgeRequest request;
             request.item_id = item_id;
             request.task = task;
             request.turn = turn;
             request.category = category;
             request.system = system;
             request.prompt = prompt;
             request.temperature = temperature;
             request.seed = seed;
             request.max_tokens = max_tokens;
             return request;
           }),
           py::arg("prompt"), py::kw_only(), py::arg("system") = "", py::arg("temperature") = 0.0,
           py::arg("seed") = 0, py::arg("max_tokens") = 2048, py::arg("item_id") = "",
           py::arg("task") = "", py::arg("turn") = 1, py::arg("category") = "")
      .def_property_readonly("id", &JudgeRequest::id, "SHA-256 of what decides the reply")
      .def_readonly("item_id", &JudgeRequest::item_id)
      .def_readonly("task", &JudgeRequest::task)
      .def_readonly("turn", &JudgeRequest::turn, "from 1: the answer that is graded")
      .def_readonly("category", &JudgeRequest::category)
      .def_readonly("question", &JudgeRequest::question)
      .def_readonly("answers", &JudgeRequest::answers,
                    "as shown, turn by turn; in pairs assistant A's first")
      .def_readonly("reference", &JudgeRequest::reference)
      .def_readonly("fields", &JudgeRequest::fields, "of the item")
      .def_readonly("system", &JudgeRequest::system)
      .def_readonly("prompt", &JudgeRequest::prompt)
      .def_readonly("temperature", &JudgeRequest::temperature)
      .def_readonly("seed", &JudgeRequest::seed)
      .def_readonly("max_tokens", &JudgeRequest::max_tokens);

  py::class_<JudgeReply>(m, "JudgeReply", R"(A judge's answer.

Args:
    text: What it wrote.
    error: Why there is no text.
    pending: No answer yet, and no failure either.
    finish: "stop", "length" (it was cut), or "" where unknown.
    model: As the judge itself says.
    prompt_tokens, tokens, cost: What it took.)")
      .def(py::init([](const std::string& text, const std::string& error, bool pending,
                       const std::string& finish, const std::string& model, int64_t prompt_tokens,
                       int64_t tokens, double cost) {
             return JudgeReply{text, error, pending, finish, model, prompt_tokens, tokens, cost};
           }),
           py::arg("text") = "", py::kw_only(), py::arg("error") = "", py::arg("pending") = false,
           py::arg("finish") = "", py::arg("model") = "", py::arg("prompt_tokens") = 0,
           py::arg("tokens") = 0, py::arg("cost") = 0.0)
      .def_readonly("text", &JudgeReply::text)
      .def_readonly("error", &JudgeReply::error)
      .def_readonly("pending", &JudgeReply::pending)
      .def_readonly("finish", &JudgeReply::finish)
      .def_readonly("model", &JudgeReply::model)
      .def_readonly("prompt_tokens", &JudgeReply::prompt_tokens)
      .def_readonly("tokens", &JudgeReply::tokens)
      .def_readonly("cost", &JudgeReply::cost);

  py::class_<JudgeInfo>(m, "JudgeInfo", R"(What a judge says of itself.

Args:
    name, model: Who it is.
    settings: dict of strings, all else that can change a reply.
    keeps_replies: It has a record of its own, so judge() keeps none.)")
      .def(py::init([](const std::string& name, const std::string& model,
                       const std::map<std::string, std::string>& settings, bool keeps_replies) {
             return JudgeInfo{name, model, settings, keeps_replies};
           }),
           py::arg("name"), py::arg("model") = "",
           py::arg("settings") = std::map<std::string, std::string>(),
           py::arg("keeps_replies") = false)
      .def_readonly("name", &JudgeInfo::name)
      .def_readonly("model", &JudgeInfo::model)
      .def_readonly("settings", &JudgeInfo::settings)
      .def_readonly("keeps_replies", &JudgeInfo::keeps_replies);

  py::class_<JudgeGrades>(m, "JudgeGrades", R"(What a reply says.

Args:
    values: Grade by grade, and within it assistant by assistant.
    unparsed: Why there is no grade.
    flags: What was out of the ordinary; each is counted.)")
      .def(py::init([](const std::vector<double>& values, const std::string& unparsed,
                       const Strings& flags) { return JudgeGrades{values, unparsed, flags}; }),
           py::arg("values") = std::vector<double>(), py::arg("unparsed") = "",
           py::arg("flags") = Strings())
      .def_readonly("values", &JudgeGrades::values)
      .def_readonly("unparsed", &JudgeGrades::unparsed)
      .def_readonly("flags", &JudgeGrades::flags);
}

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

void bind_result(py::module_& m) {
  py::class_<Judgment>(m, "Judgment", "One reply and what was read from it.")
      .def_readonly("task", &Judgment::task)
      .def_readonly("item", &Judgment::item)
      .def_readonly("category", &Judgment::category)
      .def_readonly("turn", &Judgment::turn)
      .def_readonly("repeat", &Judgment::repeat)
      .def_readonly("first", &Judgment::first, "in pairs: this model stood first")
      .def_readonly("request", &Judgment::request, "JudgeRequest.id")
      .def_readonly("text", &Judgment::text)
      .def_readonly("grades", &Judgment::grades)
      .def_readonly("unparsed", &Judgment::unparsed, "why there is no grade");
  py::class_<JudgeResult>(m, "JudgeResult", "What judge() made.")
      .def_property_readonly("complete", &JudgeResult::complete, "whether there are scores")
      .def_property_readonly(
          "scores",
          [](const JudgeResult& result) {
            check(result.complete(), "judge", "there are scores once every reply is there. Got ",
                  result.pending, " pending and ", result.failed, " failed of ", result.requests,
                  result.failures.empty() ? "" : "; the first failure: ",
                  result.failures.empty() ? "" : result.failures.front(), ".");
            return result.scores;
          },
          "EvalResult, for compare() and tables; ValueError while replies are missing")
      .def_readonly("judgments", &JudgeResult::judgments)
      .def_readonly("requests", &JudgeResult::requests, "different ones")
      .def_readonly("asked", &JudgeResult::asked, "answered in this call")
      .def_readonly("pending", &JudgeResult::pending)
      .def_readonly("failed", &JudgeResult::failed)
      .def_readonly("failures", &JudgeResult::failures, "the first ones")
      .def_readonly("unparsed", &JudgeResult::unparsed, "judgments without a grade")
      .def_readonly("prompt_tokens", &JudgeResult::prompt_tokens)
      .def_readonly("tokens", &JudgeResult::tokens)
      .def_readonly("cost", &JudgeResult::cost)
      .def_readonly("notes", &JudgeResult::notes)
      .def("judgments_jsonl", &JudgeResult::judgments_jsonl, "A line a judgment.");
}

}  // namespace

void bind_judge(py::module_& m) {
  bind_data(m);
  bind_parsers(m);
  bind_result(m);
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
