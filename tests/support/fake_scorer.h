#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cupel/eval/scorer.h"

namespace cupel::test {

/// A scorer that counts what it is asked. A continuation is the likelier the shorter it is; a
/// generation is "<prompt>#<seed>".
class FakeScorer : public Scorer {
 public:
  ScorerInfo info() const override {
    return {{.vocabulary = 10,
             .max_length = 100,
             .device = "cpu",
             .dtype = "Float",
             .fingerprint = fingerprint},
            "letters",
            settings};
  }

  std::vector<LogLikelihood> log_likelihood(const std::vector<ScoredPair>& requests) override {
    start();
    std::vector<LogLikelihood> made;
    for (const auto& [context, continuation] : requests) {
      ++pairs[{context, continuation}];
      const auto found = values.find(continuation);
      const double length = static_cast<double>(continuation.size());
      made.push_back({found == values.end() ? -length : found->second,
                      true,
                      static_cast<int64_t>(continuation.size()),
                      {}});
    }
    return made;
  }

  std::vector<LogLikelihood> rolling_log_likelihood(
      const std::vector<std::string>& texts) override {
    start();
    std::vector<LogLikelihood> made;
    for (const auto& text : texts) {
      made.push_back({-static_cast<double>(text.size()), false, 1, {"truncated"}});
    }
    return made;
  }

  std::vector<Generation> generate(const std::vector<GenerationRequest>& requests) override {
    start();
    std::vector<Generation> made;
    for (const auto& request : requests) {
      ++prompts[request.prompt];
      made.push_back(
          {request.prompt + "#" + std::to_string(request.seed), 3, "length", {"no_stop"}});
    }
    return made;
  }

  std::vector<int64_t> prepare(const std::vector<ScoredPair>& requests) override {
    prepared += static_cast<int64_t>(requests.size());
    return std::vector<int64_t>(cost > 0 ? requests.size() : 0, cost);
  }

  std::string fingerprint = "weights";
  std::map<std::string, std::string> settings = {{"boundary", "joint"}};
  std::map<std::string, double> values;  ///< of continuations, in place of -length
  std::map<ScoredPair, int64_t> pairs;   ///< how often each was scored
  std::map<std::string, int64_t> prompts;
  int64_t calls = 0, prepared = 0, cost = 0;
  int64_t dies_at_call = -1;

 private:
  void start() {
    if (calls++ == dies_at_call) throw std::runtime_error("the power went");
  }
};

}  // namespace cupel::test
