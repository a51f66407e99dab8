// Evaluates a model before and after pruning, on a text and on questions, and compares the two.
//
//   example_4_evaluate MODEL CALIBRATION HELDOUT OUT
//
// MODEL is a Hugging Face folder, CALIBRATION and HELDOUT are text files, OUT is a folder to write.
// examples/python/4_evaluate.py does the same.
#include <cupel/cupel.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

using Words = std::vector<std::string>;

constexpr std::size_t kContext = 10, kMost = 200;  // words of a context; questions

std::string quoted(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    json += c;
  }
  return json + "\"";
}

// Writes a question a line: which of four words ends this sentence? All four follow the word before
// at some place in the text. A text without full stops is asked for any word.
std::size_t write_questions(const std::string& heldout, const std::string& file) {
  Words words;
  std::ifstream text(heldout);
  for (std::string word; text >> word;) words.push_back(word);
  std::set<std::string> asked;
  for (const auto& word : words) {
    if (word.back() == '.') asked.insert(word);
  }
  if (asked.empty()) asked.insert(words.begin(), words.end());
  std::map<std::string, Words> followers;
  for (std::size_t i = 1; i < words.size(); ++i) {
    Words& known = followers[words[i - 1]];
    const bool fresh = std::find(known.begin(), known.end(), words[i]) == known.end();
    if (fresh && asked.count(words[i])) known.push_back(words[i]);
  }
  std::ofstream lines(file);
  std::size_t number = 0;
  for (std::size_t at = kContext; at < words.size() && number < kMost; ++at) {
    Words others = followers[words[at - 1]];
    others.erase(std::remove(others.begin(), others.end(), words[at]), others.end());
    if (asked.count(words[at]) == 0 || others.size() < 3) continue;
    Words choices;
    for (std::size_t i = 0; i < 3; ++i) choices.push_back(others[(number + i) % others.size()]);
    const std::size_t answer = number % 4;
    choices.insert(choices.begin() + static_cast<std::ptrdiff_t>(answer), words[at]);
    std::string context = words[at - kContext];
    for (std::size_t i = at - kContext + 1; i < at; ++i) context += " " + words[i];
    lines << "{\"context\": " << quoted(context) << ", \"choices\": [" << quoted(choices[0]);
    for (std::size_t i = 1; i < choices.size(); ++i) lines << ", " << quoted(choices[i]);
    lines << "], \"answer\": " << answer << "}\n";
    ++number;
  }
  return number;
}

void evaluate(const std::string& model_folder, const std::string& calibration,
              const std::string& heldout, const std::string& out) {
  const auto model = cupel::load_model(model_folder);
  const auto tokenizer = cupel::load_tokenizer(model_folder);
  std::filesystem::create_directories(out);
  // Where the task looks for its file in the folder `data`; "multiple_choice:file=..." names another.
  const std::size_t count = write_questions(heldout, out + "/multiple_choice.jsonl");

  const auto score = [&](const std::string& name) {
    // Everything scored is written to the record as it comes. If this ends half way, the next run
    // goes on from there; it would refuse the record of another model, text or setting.
    return cupel::evaluate(
        *model, *tokenizer, {"perplexity", "multiple_choice"},
        {.data = out, .text = heldout, .record = out + "/records/" + name, .resume = true});
  };
  const cupel::EvalResult dense = score("dense");
  const int64_t length = std::min<int64_t>(256, model->config().max_positions);
  const auto windows =
      cupel::sample_windows(calibration, *tokenizer, {.samples = 32, .length = length, .seed = 0});
  cupel::compress(*model, windows, cupel::Prune(cupel::wanda(), cupel::unstructured(0.5)));
  const cupel::EvalResult compressed = score("compressed");

  // Pairs window with window and question with question. It refuses two evaluations of other data,
  // tokenizers or settings.
  const cupel::Comparison comparison = cupel::compare(dense, compressed);
  const auto& perplexity = comparison.perplexities.front();
  std::printf("%zu questions\n", count);
  std::printf("dense perplexity:      %.4f\n", perplexity.dense);
  std::printf("compressed perplexity: %.4f\n", perplexity.compressed);
  // Difference with its interval; McNemar's p, adjusted for all rows; how many answers flipped; the
  // smallest difference that so many questions could show; and whether 95 % of the score is kept.
  std::printf("\n%s\n", comparison.to_markdown().c_str());

  cupel::save_model(*model, out);
  std::printf("written to %s\n", out.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: %s MODEL CALIBRATION HELDOUT OUT\n", arguments[0]);
    return 2;
  }
  try {
    evaluate(arguments[1], arguments[2], arguments[3], arguments[4]);
  } catch (const std::exception& error) {  // every error of cupel says what is wrong and where
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
