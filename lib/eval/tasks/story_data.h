#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cupel {

/// A news story and what belongs to it.
struct Story {
  std::string id, bucket;  ///< bucket: as the file or its folder says, or ""
  std::string body;        ///< without highlights, a paragraph a line
  std::string glued;       ///< the body as LLM-KICK's code joins it: its lines without a separator
  std::vector<std::string> highlights;
  std::string glued_highlights;         ///< the rest of that text: "@highlight" and each of them
  std::string instruction;              ///< of a published question, or ""
  std::vector<std::string> references;  ///< summaries; from "reference", or the highlights as lines
  std::vector<std::vector<std::string>> facts;  ///< each with its alternatives
};

/// Reads stories: a folder of .story files of CNN/DailyMail (with folders below it), in the order of
/// their names, or a JSONL file {"question_id", "text", "category"} as LLM-KICK's new_question.jsonl,
/// whose text is the story or the whole published question; "highlights", "reference" (a text or a
/// list) and "facts" (a list of texts, or of lists of alternatives) if wanted. FormatError for others.
std::vector<Story> read_stories(const std::string& path);

/// Whether a text tells a fact: one of the alternatives stands in it, by whole words of rouge_words(),
/// or letter by letter where it has none (other scripts).
bool tells(const std::string& text, const std::vector<std::string>& alternatives);

}  // namespace cupel
