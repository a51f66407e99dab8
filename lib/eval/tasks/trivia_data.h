#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cupel {

/// A question of TriviaQA.
struct TriviaQuestion {
  std::string id, category, question;
  std::string answer;              ///< as people write it
  std::vector<std::string> gold;   ///< normalised aliases, the answer among them
  std::vector<std::string> human;  ///< further answers by people, normalised
  std::string evidence;            ///< joined and cut; empty where none is wanted or there is none
  std::vector<std::string> flags;  ///< "evidence_missing", "no_evidence"
};

/// What to take of the pages and search results that belong to a question.
struct EvidenceRules {
  bool wanted = false;
  std::string folder = {};  ///< holds wikipedia/ and web/; "" = beside the file, or one level up
  std::vector<std::string> order = {};  ///< "wiki", "web": the first text of each, in this order
  std::string joiner = {};              ///< between them
  std::function<std::string(std::string)> cut = {};  ///< of the joined text
  uint64_t bytes = 0;          ///< that cut() can look at of each text; 0 = all
  bool count_missing = false;  ///< flag a question whose file is missing, in the place of an error
};

/// Reads questions from
/// - the official JSON: Data[].{Question, QuestionId, Answer.{Value, NormalizedAliases, HumanAnswers},
///   EntityPages[].Filename, SearchResults[].Filename}, whose texts are files of their own;
/// - lines with the fields of Hugging Face's trivia_qa: question, question_id, answer.{value,
///   normalized_aliases}, entity_pages.wiki_context, search_results.search_context;
/// - lines {"question", "answer", "aliases", "context"}, the context being the evidence; without
///   "question" the context ends in "Question: ...\nAnswer:".
/// A question_id that comes again, as Hugging Face's do, gets "#2" and so on.
///
/// FormatError naming the file, and the line or path in it, for bad data, for evidence that is missing,
/// and where evidence is wanted and no question has any.
std::vector<TriviaQuestion> read_trivia(const std::string& path, const EvidenceRules& rules);

/// The data file of a folder: SPLIT.json, .jsonl or .jsonl.gz in it or in its folder qa; without a
/// split the only such file. FormatError naming what is there.
std::string find_trivia(const std::string& folder, const std::string& split);

}  // namespace cupel
