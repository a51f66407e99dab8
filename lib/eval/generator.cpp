#include "eval/generator.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/random.h"
#include "cupel/core/unicode.h"
#include "eval/degenerate.h"
#include "eval/prompt_blocks.h"
#include "eval/state_tokens.h"
#include "eval/text_measure.h"
#include "model/sampling.h"

namespace cupel {

namespace {

constexpr int64_t kAtOnce = 64;  // requests decoded together

// A request on its way.
struct Writer {
  std::size_t index;
  std::vector<int64_t> prompt, ids;
  bool cut;
  PythonRandom random;
  TokenModel::StatePtr state;
  Generation made;
};

class Generator {
 public:
  Generator(TokenModel& model, const TokenModelInfo& info, const TextEncoder& encoder,
            const Tokenizer& tokenizer, const ScorerOptions& options,
            const std::vector<GenerationRequest>& requests, ScorerCounts& counts)
      : model_(model),
        info_(info),
        encoder_(encoder),
        tokenizer_(tokenizer),
        options_(options),
        requests_(requests),
        counts_(counts),
        state_tokens_(state_tokens(info, options.state_bytes)),
        blocks_(model, options.share_prefixes, state_tokens_, counts),
        progress_(options.progress),
        results_(requests.size()) {}

  std::vector<Generation> run() {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      waiting_.push_back(writer(i));
      if (info_.has_states) blocks_.add(waiting_.back().prompt);
    }
    const int64_t fit = std::clamp<int64_t>(state_tokens_ / info_.max_length, 1, kAtOnce);
    std::size_t next = 0;
    while (next < waiting_.size() || !writing_.empty()) {
      // Those that begin together cost less: wait for room for some.
      const int64_t room = fit - static_cast<int64_t>(writing_.size());
      if (writing_.empty() || 4 * room >= fit) begin(next, room);
      if (!writing_.empty()) step();
    }
    return std::move(results_);
  }

 private:
  Writer writer(std::size_t index) const {
    const GenerationRequest& request = requests_[index];
    const char* here = "ModelScorer";
    check_sampling(here, request.temperature, request.top_k, request.top_p);
    Writer made{index,
                encoder_.prompt(request.prompt, request.special),
                {},
                false,
                PythonRandom(request.seed),
                {},
                {}};
    if (made.prompt.empty()) made.prompt.push_back(encoder_.start());
    const auto size = static_cast<int64_t>(made.prompt.size());
    const int64_t most = info_.max_length - request.max_new_tokens;
    check(request.max_new_tokens >= 0 && most >= 1, here,
          "max_new_tokens leaves room for a prompt in the model's ", info_.max_length,
          " positions. Got ", request.max_new_tokens, ".");
    if (size > most) {
      check(options_.over_long == "truncate_left", here,
            "prompt and new tokens must fit the model's ", info_.max_length, " positions. Got ",
            size, " + ", request.max_new_tokens, " for '", printable(request.prompt, 60),
            "' (over_long=\"truncate_left\" drops the beginning).");
      made.prompt.erase(made.prompt.begin(), made.prompt.end() - most);
      made.cut = true;
    }
    return made;
  }

  // Up to `count` of those that wait, from `next` on, of not much more than a batch of tokens.
  void begin(std::size_t& next, int64_t count) {
    std::vector<Writer> begun;
    int64_t tokens = 0;
    for (; next < waiting_.size() && count > 0 && tokens < options_.batch_tokens; ++next, --count) {
      report();
      Writer& writer = waiting_[next];
      if (requests_[writer.index].max_new_tokens == 0) {
        finish(writer, "length");
        continue;
      }
      tokens += static_cast<int64_t>(writer.prompt.size());
      begun.push_back(std::move(writer));
    }
    if (begun.empty()) return;
    const torch::Tensor logits = prompt_logits(begun);
    for (std::size_t i = 0; i < begun.size(); ++i) {
      if (advance(begun[i], logits[static_cast<int64_t>(i)]))
        writing_.push_back(std::move(begun[i]));
    }
  }

  torch::Tensor prompt_logits(std::vector<Writer>& begun) {
    if (!info_.has_states) return whole(begun);
    std::vector<const std::vector<int64_t>*> prompts;
    for (const auto& writer : begun) prompts.push_back(&writer.prompt);
    torch::Tensor logits;
    auto states = blocks_.run(prompts, logits);
    for (std::size_t i = 0; i < begun.size(); ++i) begun[i].state = std::move(states[i]);
    return logits;
  }

  // A model without states runs everything again for each token.
  torch::Tensor whole(const std::vector<Writer>& writers) {
    std::vector<torch::Tensor> rows;
    for (const auto& writer : writers) {
      auto tokens = writer.prompt;
      tokens.insert(tokens.end(), writer.ids.begin(), writer.ids.end());
      const auto size = static_cast<int64_t>(tokens.size());
      counts_.run += size;
      rows.push_back(model_.logits(tokens, {size - 1}));
    }
    return at::cat(rows);
  }

  void step() {
    report();
    torch::Tensor logits;
    if (info_.has_states) {
      std::vector<int64_t> ids;
      std::vector<TokenModel::StatePtr> states;
      for (auto& writer : writing_) {
        ids.push_back(writer.ids.back());
        states.push_back(std::move(writer.state));  // the model may go on in its memory
      }
      logits = model_.decode(ids, states);
      counts_.run += static_cast<int64_t>(ids.size());
      for (std::size_t i = 0; i < states.size(); ++i) writing_[i].state = std::move(states[i]);
    } else {
      logits = whole(writing_);
    }
    std::vector<Writer> left;
    for (std::size_t i = 0; i < writing_.size(); ++i) {
      if (advance(writing_[i], logits[static_cast<int64_t>(i)])) {
        left.push_back(std::move(writing_[i]));
      }
    }
    writing_ = std::move(left);
  }

  // Takes one more token; false when that was the last.
  bool advance(Writer& writer, const torch::Tensor& logits) {
    const GenerationRequest& request = requests_[writer.index];
    const auto [largest, top] = logits.max(0);
    if (std::isnan(largest.item<float>())) {
      throw NumericalError(c10::str("[ModelScorer] logits must be numbers. Got NaN after '",
                                    printable(request.prompt, 60), "'."));
    }
    const int64_t id =
        request.temperature > 0
            ? sample_token(logits, request.temperature, request.top_k, request.top_p, writer.random)
            : top.item<int64_t>();
    if (id == tokenizer_.eos()) return finish(writer, "end"), false;
    writer.ids.push_back(id);
    if (!request.stop.empty()) {
      writer.made.text = text_of(writer);
      if (cut_at_stop(writer.made.text, request.stop)) return finish(writer, "stop"), false;
    }
    if (static_cast<int64_t>(writer.ids.size()) < request.max_new_tokens) return true;
    return finish(writer, "length"), false;
  }

  static bool cut_at_stop(std::string& text, const std::vector<std::string>& stops) {
    std::size_t first = std::string::npos;
    for (const auto& stop : stops) {
      if (!stop.empty()) first = std::min(first, text.find(stop));
    }
    if (first == std::string::npos) return false;
    text.resize(first);
    return true;
  }

  std::string text_of(const Writer& writer) const {
    return text_after(tokenizer_, writer.prompt.data(), writer.prompt.size(), writer.ids);
  }

  void finish(Writer& writer, const char* why) {
    const GenerationRequest& request = requests_[writer.index];
    Generation& made = writer.made;
    if (std::string(why) != "stop") made.text = text_of(writer);
    made.tokens = static_cast<int64_t>(writer.ids.size());
    made.finish = why;
    if (is_blank(made.text)) made.flags.push_back("empty");
    if (std::any_of(writer.ids.begin(), writer.ids.end(),
                    [&](int64_t id) { return id >= tokenizer_.vocabulary(); })) {
      made.flags.push_back("unknown_token");
    }
    if (ends_in_repetition(writer.ids)) made.flags.push_back("repetition");
    if (!request.stop.empty() && made.finish == "length") made.flags.push_back("no_stop");
    if (writer.cut) made.flags.push_back("truncated");
    results_[writer.index] = std::move(made);
    ++done_;
  }

  void report() const {
    progress_.report({.stage = "generate",
                      .name = "",
                      .done = done_,
                      .total = static_cast<int64_t>(requests_.size())});
  }

  TokenModel& model_;
  const TokenModelInfo& info_;
  const TextEncoder& encoder_;
  const Tokenizer& tokenizer_;
  const ScorerOptions& options_;
  const std::vector<GenerationRequest>& requests_;
  ScorerCounts& counts_;
  int64_t state_tokens_;
  PromptBlocks blocks_;
  ProgressReporter progress_;
  std::vector<Writer> waiting_, writing_;
  std::vector<Generation> results_;
  int64_t done_ = 0;
};

}  // namespace

std::vector<Generation> generate_text(TokenModel& model, const TokenModelInfo& info,
                                      const TextEncoder& encoder, const Tokenizer& tokenizer,
                                      const ScorerOptions& options,
                                      const std::vector<GenerationRequest>& requests,
                                      ScorerCounts& counts) {
  return Generator(model, info, encoder, tokenizer, options, requests, counts).run();
}

}  // namespace cupel
