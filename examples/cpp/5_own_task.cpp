// Evaluates pruning by a task of your own: does the model still tell a sentence from the same words
// in another order?
//
//   example_5_own_task MODEL CALIBRATION HELDOUT OUT
//
// MODEL is a Hugging Face folder, CALIBRATION and HELDOUT are text files, OUT is a folder to write.
// examples/python/5_own_task.py does the same.
#include <cupel/cupel.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Words = std::vector<std::string>;

// Words before, words that may be swapped, questions.
constexpr std::size_t kBeginning = 6, kRest = 6, kMost = 200;

std::string joined(const Words& words, std::size_t begin, std::size_t end) {
  std::string text = words[begin];
  for (std::size_t i = begin + 1; i < end; ++i) text += " " + words[i];
  return text;
}

// A task loads items, says what to ask of each, and scores the answers. It never sees a model, so it
// measures a dense one, a compressed one and any other scorer alike.
class WordOrder : public cupel::Task {
 public:
  cupel::TaskInfo info() const override {
    return {.name = "word_order",
            .version = "1",  // to be changed when the same file gives other scores
            .description = "the likelier of a passage and the same with two words swapped",
            .options = {{"swap", "2", "how many words of the passage stand before the pair"}}};
  }

  std::vector<cupel::TaskItem> load(const std::string& path,
                                    const cupel::TaskOptions& options) override {
    Words words;
    std::ifstream text(path);
    for (std::string word; text >> word;) words.push_back(word);
    const auto swap = static_cast<std::size_t>(options.whole("swap"));
    if (swap > kRest - 2) throw std::invalid_argument("[word_order] swap is from 0 to 4.");
    std::vector<cupel::TaskItem> items;
    for (std::size_t at = 0; at + kBeginning + kRest <= words.size(); at += kBeginning + kRest) {
      const Words rest(words.begin() + static_cast<std::ptrdiff_t>(at + kBeginning),
                       words.begin() + static_cast<std::ptrdiff_t>(at + kBeginning + kRest));
      Words other = rest;
      std::swap(other[swap], other[swap + 1]);
      if (other == rest || items.size() == kMost) continue;
      // An id is its own, and the same in every run: records go by it.
      cupel::TaskItem item{"word " + std::to_string(at)};
      const bool ends = rest[swap].find('.') != std::string::npos;
      item.category = ends ? "sentence ends" : "inside";
      item.fields["beginning"] = {joined(words, at, at + kBeginning)};
      item.fields["rests"] = {" " + joined(rest, 0, kRest), " " + joined(other, 0, kRest)};
      items.push_back(std::move(item));
    }
    return items;
  }

  std::vector<cupel::TaskRequest> requests(
      const cupel::TaskItem& item, const std::string&,
      const std::vector<cupel::TaskOutput>& outputs) const override {
    std::vector<cupel::TaskRequest> requests;
    if (!outputs.empty()) return requests;  // both were asked: the item ends
    // The beginning is the same in both and runs once.
    for (const auto& rest : item.list("rests")) {
      requests.push_back(cupel::TaskRequest::log_likelihood(item.text("beginning"), rest));
    }
    return requests;
  }

  cupel::ItemScore score(const cupel::TaskItem& item, const std::string&,
                         const std::vector<cupel::TaskOutput>& outputs) const override {
    const double right = outputs[0].likelihood.value, swapped = outputs[1].likelihood.value;
    const auto& rests = item.list("rests");
    return {.id = item.id,
            .category = item.category,
            .prediction = rests[right > swapped ? 0 : 1],
            .gold = rests[0],
            .values = {{"accuracy", right > swapped ? 1.0 : 0.0}, {"margin", right - swapped}}};
  }
};

void evaluate(const std::string& model_folder, const std::string& calibration,
              const std::string& heldout, const std::string& out) {
  // From here on "word_order" is a name like "multiple_choice".
  cupel::tasks().add("word_order", [] { return std::make_shared<WordOrder>(); });
  const auto model = cupel::load_model(model_folder);
  const auto tokenizer = cupel::load_tokenizer(model_folder);
  const Words tasks{"perplexity", "word_order:file=" + heldout};
  const auto dense = cupel::evaluate(*model, *tokenizer, tasks, {.text = heldout});

  const int64_t length = std::min<int64_t>(256, model->config().max_positions);
  const auto windows =
      cupel::sample_windows(calibration, *tokenizer, {.samples = 32, .length = length, .seed = 0});
  cupel::compress(*model, windows, cupel::Prune(cupel::wanda(), cupel::unstructured(0.5)));
  const auto compressed = cupel::evaluate(*model, *tokenizer, tasks, {.text = heldout});

  // A task of your own is compared as any other: paired intervals, McNemar's test, flips, verdict.
  const cupel::Comparison comparison = cupel::compare(dense, compressed);
  const auto accuracy = [](const cupel::EvalResult& scores) {
    return scores.metrics.at("word_order").at("strict").at("accuracy");
  };
  std::printf("dense word order accuracy: %.4f\n", accuracy(dense));
  std::printf("compressed word order accuracy: %.4f\n", accuracy(compressed));
  std::printf("dense perplexity: %.4f\n", comparison.perplexities.front().dense);
  std::printf("compressed perplexity: %.4f\n", comparison.perplexities.front().compressed);
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
