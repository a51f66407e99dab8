#include "eval/tasks/story_data.h"

#include <algorithm>
#include <filesystem>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "cupel/eval/rouge.h"
#include "cupel/text/records.h"
#include "eval/tasks/answer_values.h"
#include "eval/tasks/jsonl_items.h"

namespace cupel {

namespace {

namespace fs = std::filesystem;

const std::string kMark = "@highlight";

std::string joined(const std::vector<std::string>& lines, const char* separator) {
  std::string text;
  for (const auto& line : lines) text += (text.empty() ? "" : separator) + line;
  return text;
}

// The body comes first, then "@highlight" and a sentence, several times. In a published question the
// mark stands within the line.
void split_highlights(const std::string& text, Story& story) {
  const std::size_t end = text.find(kMark);
  const std::vector<std::string> body = lines_of(text.substr(0, end));
  story.body = joined(body, "\n");
  story.glued = joined(body, "");
  for (std::size_t at = end; at != std::string::npos;) {
    const std::size_t next = text.find(kMark, at + kMark.size());
    const std::size_t begin = at + kMark.size();
    const std::vector<std::string> lines =
        lines_of(text.substr(begin, next == std::string::npos ? next : next - begin));
    story.glued_highlights += kMark + joined(lines, "");
    if (!lines.empty()) story.highlights.push_back(joined(lines, " "));
    at = next;
  }
}

Story read_story_file(const fs::path& path, const fs::path& folder) {
  Story story;
  const fs::path relative = fs::relative(path, folder);
  story.id = (relative.parent_path() / relative.stem()).generic_string();
  story.bucket = relative.has_parent_path() ? relative.parent_path().filename().string() : "";
  split_highlights(read_text(path.string()), story);
  if (story.body.empty()) {
    throw FormatError(path.string(), "", "a story has text before its highlights.");
  }
  if (!story.highlights.empty()) story.references = {joined(story.highlights, "\n")};
  return story;
}

std::vector<std::vector<std::string>> read_facts(const JsonlRecord& record) {
  const Json& facts = record.json().at("facts");
  std::vector<std::vector<std::string>> made;
  bool right = facts.is_array() && !facts.empty();
  for (std::size_t i = 0; right && i < facts.size(); ++i) {
    std::vector<std::string> alternatives;
    const Json list = facts[i].is_string() ? Json::array({facts[i]}) : facts[i];
    right = list.is_array() && !list.empty();
    for (std::size_t k = 0; right && k < list.size(); ++k) {
      right = list[k].is_string() && !strip_white_space(list[k].get<std::string>()).empty();
      if (right) alternatives.push_back(list[k].get<std::string>());
    }
    made.push_back(alternatives);
  }
  if (!right) {
    record.fail("\"facts\" is a list of texts, or of lists of alternatives, none of them empty.");
  }
  return made;
}

Story read_record(const JsonlRecord& record, const TaskItem& item) {
  Story story;
  story.id = item.id;
  story.bucket = item.category;
  std::string text = record.text("text");
  // A published question: "Summarize the given story in ...", an empty line, the story.
  if (const std::size_t end = text.find("\n\n");
      end != std::string::npos && text.rfind("Summarize the given ", 0) == 0) {
    story.instruction = text.substr(0, end);
    text = text.substr(end + 2);
  }
  split_highlights(text, story);
  if (story.body.empty()) record.fail("\"text\" holds a story before its highlights.");
  if (record.has("highlights")) story.highlights = record.one_or_more("highlights");
  if (record.has("reference")) {
    story.references = record.one_or_more("reference");
  } else if (!story.highlights.empty()) {
    story.references = {joined(story.highlights, "\n")};
  }
  if (record.has("facts")) story.facts = read_facts(record);
  return story;
}

}  // namespace

std::vector<Story> read_stories(const std::string& path) {
  std::vector<Story> stories;
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    read_jsonl_items(path, [&](const JsonlRecord& record, TaskItem& item) {
      stories.push_back(read_record(record, item));
    });
    return stories;
  }
  std::vector<fs::path> files;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".story") files.push_back(it->path());
  }
  if (error) throw FormatError(path, "", "the folder cannot be read: " + error.message() + ".");
  if (files.empty()) throw FormatError(path, "", "there is no .story file in the folder.");
  std::sort(files.begin(), files.end());
  for (const auto& file : files) stories.push_back(read_story_file(file, path));
  return stories;
}

bool tells(const std::string& text, const std::vector<std::string>& alternatives) {
  const std::vector<std::string> words = rouge_words(text);
  return std::any_of(alternatives.begin(), alternatives.end(), [&](const std::string& fact) {
    const std::vector<std::string> wanted = rouge_words(fact);
    if (wanted.empty()) return text.find(strip_white_space(fact)) != std::string::npos;
    return std::search(words.begin(), words.end(), wanted.begin(), wanted.end()) != words.end();
  });
}

}  // namespace cupel
