// Judges, and the pass that asks one of them.
#include "cupel/eval/judge.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "eval/judge_plan.h"

namespace cupel {

std::string JudgeRequest::id() const {
  return sha256(dump_json(Json{{"system", system},
                               {"prompt", prompt},
                               {"temperature", temperature},
                               {"seed", seed},
                               {"max_tokens", max_tokens}}));
}

void CallableJudge::reply(const std::vector<JudgeRequest>& requests, const ReplySink& sink) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    sink(static_cast<int64_t>(i), function_(requests[i]));
  }
}

LocalJudge::LocalJudge(Scorer& scorer, ChatTemplate chat, LocalJudgeOptions options)
    : scorer_(scorer), chat_(std::move(chat)), options_(std::move(options)) {
  check(static_cast<bool>(chat_.prompt), "LocalJudge", "a chat template has a prompt function.");
  check(options_.batch >= 1, "LocalJudge", "batch is at least 1. Got ", options_.batch, ".");
}

JudgeInfo LocalJudge::info() const {
  const ScorerInfo scorer = scorer_.info();
  JudgeInfo info{.name = "local", .model = scorer.model.fingerprint, .settings = scorer.settings};
  info.settings["template"] = options_.name;
  info.settings["stop"] = dump_json(Json(chat_.stop));
  info.settings["dtype"] = scorer.model.dtype;
  info.settings["tokenizer"] = scorer.tokenizer;
  return info;
}

namespace {

std::string chat_text(const ChatTemplate& chat, const JudgeRequest& request) {
  if (request.system.empty()) return chat.prompt({{"user", request.prompt}});
  std::string prompt = chat.prompt({{"system", request.system}, {"user", request.prompt}});
  if (prompt.find(request.system) != std::string::npos) return prompt;
  return chat.prompt({{"user", request.system + "\n\n" + request.prompt}});
}

}  // namespace

void LocalJudge::reply(const std::vector<JudgeRequest>& requests, const ReplySink& sink) {
  const auto size = static_cast<int64_t>(requests.size());
  for (int64_t begin = 0; begin < size; begin += options_.batch) {
    std::vector<GenerationRequest> batch;
    for (int64_t i = begin; i < std::min(size, begin + options_.batch); ++i) {
      const JudgeRequest& request = requests[static_cast<std::size_t>(i)];
      batch.push_back({.prompt = chat_text(chat_, request),
                       .max_new_tokens = request.max_tokens,
                       .stop = chat_.stop,
                       .temperature = request.temperature,
                       .seed = request.seed,
                       .special = chat_.special});
    }
    const std::vector<Generation> made = scorer_.generate(batch);
    check(made.size() == batch.size(), "LocalJudge", "a scorer answers every request. Got ",
          made.size(), " of ", batch.size(), ".");
    for (std::size_t i = 0; i < made.size(); ++i) {
      sink(begin + static_cast<int64_t>(i),
           {.text = made[i].text, .finish = made[i].finish, .tokens = made[i].tokens});
    }
  }
}

namespace {

using Replies = std::map<std::string, JudgeReply>;
constexpr std::size_t kFailuresShown = 10;

Json info_json(const JudgeInfo& info) {
  return {{"name", info.name}, {"model", info.model}, {"settings", Json(info.settings)}};
}

std::string reply_line(const JudgeRequest& request, const std::string& id,
                       const JudgeReply& reply) {
  return dump_json(Json{{"id", id},
                        {"task", request.task},
                        {"item", request.item_id},
                        {"turn", request.turn},
                        {"text", reply.text},
                        {"finish", reply.finish},
                        {"model", reply.model},
                        {"prompt_tokens", reply.prompt_tokens},
                        {"tokens", reply.tokens},
                        {"cost", reply.cost}});
}

// The replies that are on the disk; a journal of another judge is refused.
class ReplyJournal {
 public:
  ReplyJournal(const std::string& path, const JudgeInfo& info) {
    if (path.empty() || info.keeps_replies) return;
    const auto folder = std::filesystem::path(path).parent_path();
    if (!folder.empty()) std::filesystem::create_directories(folder);
    const Json manifest{{"cupel_judge_replies", 1}, {"judge", info_json(info)}};
    bool begun = false;
    if (std::filesystem::exists(path)) {
      journal_ = Journal::open(path, [&](const JournalContents& found) {
        begun = !found.manifest.empty();
        if (!begun) return;
        const Json first = parse_json(found.manifest, path);
        if (!first.contains("cupel_judge_replies") || !first.contains("judge")) {
          throw FormatError(path, "line 1", "is no journal of a judge's replies.");
        }
        check(first.at("judge") == manifest.at("judge"), "judge",
              "replies of one judge stand in one file. Got ", printable(path), " of ",
              printable(dump_json(first.at("judge")), 200), " and the judge ",
              printable(dump_json(manifest.at("judge")), 200),
              "; write elsewhere (--out), or move it away.");
      });
    }
    if (!begun) {
      journal_.reset();  // its lock goes before the next one comes
      journal_ = Journal::create(path, dump_json(manifest));
    }
  }

  Replies read() const {
    Replies replies;
    if (!journal_) return replies;
    for (const auto& batch : journal_->contents().batches) {
      for (const auto& line : batch) {
        const Json json = parse_json(line, journal_->path());
        try {
          JudgeReply reply{.text = json.at("text").get<std::string>()};
          json.at("finish").get_to(reply.finish);
          json.at("model").get_to(reply.model);
          json.at("prompt_tokens").get_to(reply.prompt_tokens);
          json.at("tokens").get_to(reply.tokens);
          json.at("cost").get_to(reply.cost);
          replies.emplace(json.at("id").get<std::string>(), std::move(reply));  // the first stands
        } catch (const Json::exception& error) {
          throw FormatError(journal_->path(), "",
                            std::string("holds no reply of a judge: ") + error.what() + ".");
        }
      }
    }
    return replies;
  }

  void write(const std::string& line) {
    if (journal_) journal_->append_batch({line});
  }

 private:
  std::optional<Journal> journal_;
};

// Asks what has no reply yet.
void ask(Judge& judge, const std::vector<JudgeRequest>& requests, ReplyJournal& journal,
         Replies& replies, const ProgressReporter& reporter, JudgeResult& result) {
  std::vector<JudgeRequest> open;
  std::vector<std::string> ids;
  for (const auto& request : requests) {
    std::string id = request.id();
    if (replies.count(id)) continue;
    open.push_back(request);
    ids.push_back(std::move(id));
  }
  const auto total = static_cast<int64_t>(requests.size());
  int64_t done = total - static_cast<int64_t>(open.size());
  const auto report = [&] {
    reporter.report({.stage = "score", .name = "judge", .done = done, .total = total});
  };
  report();
  std::vector<char> seen(open.size(), 0);
  if (!open.empty()) {
    const std::function<void()> tick = report;
    const WorkScope working(tick);
    judge.reply(open, [&](int64_t index, const JudgeReply& reply) {
      const auto i = static_cast<std::size_t>(index);
      check(index >= 0 && i < open.size() && !seen[i], "judge",
            "a judge answers each request once. Got a reply to number ", index, " of ", open.size(),
            index >= 0 && i < open.size() ? ", again." : ".");
      seen[i] = 1;
      if (reply.pending) return;
      ++done;
      if (!reply.error.empty()) {
        ++result.failed;
        if (result.failures.size() < kFailuresShown) {
          result.failures.push_back(c10::str(open[i].task, ", item '",
                                             printable(open[i].item_id, 60), "', turn ",
                                             open[i].turn, ": ", printable(reply.error, 300)));
        }
      } else {
        ++result.asked;
        journal.write(reply_line(open[i], ids[i], reply));
      }
      replies.emplace(ids[i], reply);
      report();
    });
  }
  for (const auto& id : ids) result.pending += replies.count(id) ? 0 : 1;
  report();
}

// Files of an earlier pass whose replies are not these are taken away first.
void write_result(const std::string& folder, const JudgePlan& plan, const JudgeInfo& info,
                  const JudgeResult& result) {
  namespace fs = std::filesystem;
  fs::create_directories(folder);
  for (const char* name : {"scores.json", "judgments.jsonl"}) fs::remove(folder + name);
  const Json json{{"cupel_judge", 1},
                  {"judge", info_json(info)},
                  {"settings", Json(plan.settings)},
                  {"complete", result.complete()},
                  {"requests", result.requests},
                  {"pending", result.pending},
                  {"failed", result.failed},
                  {"failures", result.failures},
                  {"unparsed", result.unparsed},
                  {"prompt_tokens", result.prompt_tokens},
                  {"tokens", result.tokens},
                  {"cost", result.cost},
                  {"notes", result.notes}};
  write_file(folder + "judge.json", dump_json(json, 1) + "\n");
  if (!result.complete()) return;
  write_file(folder + "judgments.jsonl", result.judgments_jsonl());
  write_file(folder + "scores.json", result.scores.to_json());
}

}  // namespace

JudgeResult judge(const std::string& records, Judge& judge, const JudgeOptions& options) {
  JudgePlan plan = make_judge_plan(records, options);
  const JudgeInfo info = judge.info();
  JudgeResult result;
  result.requests = static_cast<int64_t>(plan.requests.size());
  const ProgressReporter reporter(options.progress);
  const std::string folder = options.out.empty() ? "" : options.out + "/";
  const std::string beside = options.out.empty() ? "" : folder + "replies.jsonl";
  ReplyJournal journal(options.replies.empty() ? beside : options.replies, info);
  Replies replies = journal.read();
  ask(judge, plan.requests, journal, replies, reporter, result);
  std::map<std::string, int64_t> models;
  for (const auto& request : plan.requests) {
    const auto found = replies.find(request.id());
    if (found == replies.end()) continue;
    result.prompt_tokens += found->second.prompt_tokens;
    result.tokens += found->second.tokens;
    result.cost += found->second.cost;
    if (!found->second.model.empty()) ++models[found->second.model];
  }
  if (models.size() > 1) {
    std::string text = "Replies came from several models:";
    for (const auto& [model, count] : models) {
      text += c10::str(" ", printable(model, 60), " (", count, ")");
    }
    plan.notes.push_back(text + ".");
  }
  result.notes = plan.notes;
  if (result.pending == 0 && (result.failed == 0 || options.on_error == "count")) {
    score_judgments(plan, options, info, replies, result);
  }
  if (!options.out.empty()) write_result(folder, plan, info, result);
  return result;
}

std::string JudgeResult::judgments_jsonl() const {
  std::string text;
  for (const auto& one : judgments) {
    Json json{{"task", one.task},       {"item", one.item},     {"category", one.category},
              {"turn", one.turn},       {"repeat", one.repeat}, {"first", one.first},
              {"request", one.request}, {"grades", one.grades}, {"unparsed", one.unparsed},
              {"text", one.text}};
    text += dump_json(json) + "\n";
  }
  return text;
}

}  // namespace cupel
