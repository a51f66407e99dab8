// What a judge is asked and answers, and what comes of it.
#include "bindings.h"

namespace cupel::python {

void bind_judge_requests(py::module_& m) {
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
                       const std::vector<std::string>& flags) {
             return JudgeGrades{values, unparsed, flags};
           }),
           py::arg("values") = std::vector<double>(), py::arg("unparsed") = "",
           py::arg("flags") = std::vector<std::string>())
      .def_readonly("values", &JudgeGrades::values)
      .def_readonly("unparsed", &JudgeGrades::unparsed)
      .def_readonly("flags", &JudgeGrades::flags);
}

void bind_judge_results(py::module_& m) {
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

}  // namespace cupel::python
