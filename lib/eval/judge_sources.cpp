#include "eval/judge_sources.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"
#include "text/json_lines.h"

namespace cupel {

namespace {

namespace fs = std::filesystem;

std::vector<std::string> record_files(const std::string& path) {
  if (!fs::is_directory(path)) return {path};
  const std::string inner = path + "/records";
  const std::string folder = fs::is_directory(inner) ? inner : path;
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && entry.path().extension() == ".jsonl") {
      files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  check(!files.empty(), "judge", "records come from evaluate(record=...), --out. Got ",
        printable(folder), ", which holds none.");
  return files;
}

// The manifest of a record; nothing for a file that is none.
std::optional<RunManifest> manifest_of(const JournalContents& journal, const std::string& path) {
  const Json first = parse_json(journal.manifest, path);
  if (!first.contains("cupel_record") || !first.contains("manifest")) return std::nullopt;
  return RunManifest::from_json(dump_json(first.at("manifest")), path);
}

// The texts of one line's protocol, in order; nothing where one of its requests is no text.
std::optional<std::vector<std::string>> texts_of(const Json& line, const std::string& protocol) {
  std::vector<std::string> texts;
  for (const auto& index : line.at("protocols").at(protocol).at("requests")) {
    const Json& request = line.at("requests").at(index.get<std::size_t>());
    if (request.at("kind").get<std::string>() != "generate") return std::nullopt;
    texts.push_back(request.at("text").get<std::string>());
  }
  if (texts.empty()) return std::nullopt;
  return texts;
}

// Whether every item has texts; fills `made.answers`.
bool read_texts(const JournalContents& journal, RecordedAnswers& made) {
  int64_t lines = 0;
  for (std::size_t batch = 0; batch < journal.batches.size(); ++batch) {
    for (const auto& line : journal.batches[batch]) {
      const std::string where = c10::str("batch ", batch);
      const Json json = parse_json(line, made.path);
      try {
        auto texts = texts_of(json, made.protocol);
        if (!texts) return false;
        const auto id = json.at("item").get<std::string>();
        if (!made.answers.emplace(id, std::move(*texts)).second) {
          throw FormatError(made.path, where, "holds item '" + printable(id, 60) + "' again.");
        }
      } catch (const Json::exception& error) {
        throw FormatError(made.path, where,
                          std::string("holds no line of a run: ") + error.what() + ".");
      }
      ++lines;
    }
  }
  check(lines == made.manifest.items, "judge", "a record is judged once it is whole. Got ", lines,
        " of ", made.manifest.items, " items in ", printable(made.path),
        "; finish the evaluation first (resume, --resume).");
  return true;
}

// Places where a task's data may be, of one that the user named.
std::vector<std::string> places_of(const std::string& named, const std::string& default_data,
                                   const RunManifest& manifest) {
  if (!fs::is_directory(named)) return {named};
  if (!default_data.empty() && fs::exists(named + "/" + default_data)) {
    return {named + "/" + default_data, named + "/" + manifest.data_file};
  }
  return {named + "/" + manifest.data_file, named};
}

// The file or folder with the task's data: the one whose hash the record has.
std::string find_data(const RunManifest& manifest, const std::string& default_data,
                      const std::vector<std::string>& data) {
  check(!data.empty(), "judge", "the judge reads the questions of ", manifest.task,
        " from its data again: say where they are (data, --data).");
  std::string others;
  for (const auto& named : data) {
    for (const auto& place : places_of(named, default_data, manifest)) {
      if (!fs::exists(place)) continue;
      const std::string hash = data_sha256(place);
      if (hash == manifest.data_sha256) return place;
      others +=
          c10::str(others.empty() ? "" : ", ", printable(place), " (", hash.substr(0, 12), ")");
    }
  }
  check(false, "judge", "the questions of ", manifest.task, " are those of its record, SHA-256 ",
        manifest.data_sha256.substr(0, 12), ". Got ",
        others.empty() ? "nothing in " + printable(data.front()) : others, ".");
  return "";
}

void load_items(const JudgeOptions& options, RecordedAnswers& made) {
  const std::shared_ptr<Task> task = tasks().get(made.manifest.task)();
  const TaskInfo info = task->info();
  check(info.version == made.manifest.task_version, "judge", "the task is that of its record. Got ",
        made.manifest.task, " version ", info.version, " and ", made.manifest.task_version, " in ",
        printable(made.path), ".");
  const std::string path = find_data(made.manifest, info.data, options.data);
  made.items = task->load(path, TaskOptions(made.manifest.task, made.manifest.options));
  const auto count = static_cast<std::size_t>(made.manifest.items);
  check(made.items.size() >= count, "judge", "the items are those of the record. Got ",
        made.items.size(), " of ", count, " in ", made.manifest.task, ".");
  made.items.resize(count);
  Sha256 ids;
  for (const auto& item : made.items) ids.update(item.id + "\n");
  check(ids.hex() == made.manifest.items_sha256, "judge",
        "the items are those of the record. Got other ids in ", made.manifest.task, ".");
  for (const auto& item : made.items) {
    check(made.answers.count(item.id), "judge", "each item has its answer. Got none of '",
          printable(item.id, 60), "' in ", printable(made.path), ".");
  }
}

bool wanted(const std::vector<std::string>& names, const std::string& key) {
  return names.empty() || std::find(names.begin(), names.end(), key) != names.end();
}

}  // namespace

std::vector<RecordedAnswers> read_records(const std::string& path, const JudgeOptions& options,
                                          bool with_items, std::vector<std::string>& notes) {
  std::vector<RecordedAnswers> found;
  std::string known;
  for (const auto& file : record_files(path)) {
    const JournalContents journal = read_journal(file);
    const auto manifest = manifest_of(journal, file);
    if (!manifest) {
      notes.push_back(printable(file) + " is no record of evaluate() and was left out.");
      continue;
    }
    // A task that ran several times stands under its file's name, which holds all of its text.
    const std::string stem = fs::path(file).stem().string();
    RecordedAnswers made{
        .key = record_file_name(manifest->task) == stem + ".jsonl" ? manifest->task : stem,
        .path = file,
        .manifest = *manifest,
        .protocol = options.protocol,
        .items = {},
        .answers = {}};
    known += (known.empty() ? "" : ", ") + made.key;
    if (!wanted(options.tasks, made.key) && !wanted(options.tasks, manifest->task)) continue;
    const auto& protocols = manifest->protocols;
    if (made.protocol.empty()) made.protocol = protocols.empty() ? "" : protocols.front();
    const bool has =
        std::find(protocols.begin(), protocols.end(), made.protocol) != protocols.end();
    // Lines of a perplexity are windows.
    if (manifest->task == "perplexity" || !has || !read_texts(journal, made)) {
      check(options.tasks.empty(), "judge", "what is judged is texts of one protocol. Got ",
            made.key, ", which has none by '", made.protocol, "'.");
      notes.push_back(made.key + " holds no texts of the protocol and was left out.");
      continue;
    }
    if (with_items) load_items(options, made);
    found.push_back(std::move(made));
  }
  check(!found.empty(), "judge", "there is a record of texts to judge. Got ", printable(path),
        " with ", known.empty() ? "no record" : known, ".");
  return found;
}

AnswersByItem read_answers(const std::string& path) {
  AnswersByItem found;
  for_each_json_line(path, [&](int64_t number, const Json& json) {
    const std::string where = c10::str("line ", number);
    try {
      const Json& id = json.contains("question_id") ? json.at("question_id") : json.at("id");
      const std::string name = id.is_string() ? id.get<std::string>() : dump_json(id);
      std::vector<std::string> turns;
      if (json.contains("choices")) {
        json.at("choices").at(0).at("turns").get_to(turns);
      } else if (json.contains("turns")) {
        json.at("turns").get_to(turns);
      } else {
        turns = {json.at("text").get<std::string>()};
      }
      if (turns.empty()) throw FormatError(path, where, "holds no answer.");
      if (!found.emplace(name, std::move(turns)).second) {
        throw FormatError(path, where, "answers '" + printable(name, 60) + "' a second time.");
      }
    } catch (const Json::exception&) {
      throw FormatError(path, where,
                        "is no answer: it has a question_id, and choices[0].turns, turns or text.");
    }
  });
  if (found.empty()) throw FormatError(path, "", "holds no answer.");
  return found;
}

std::vector<std::string> questions_of(const TaskItem& item) {
  for (const char* field : {"turns", "question", "prompt"}) {
    if (item.fields.count(field)) return item.list(field);
  }
  check(false, "judge", "an item to be judged has a field turns, question or prompt. Got '",
        printable(item.id, 60), "', which has none.");
  return {};
}

}  // namespace cupel
