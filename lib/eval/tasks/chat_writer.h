#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cupel/eval/task.h"
#include "cupel/text/chat.h"

namespace cupel {

/// A part of a conversation that may be cut at its end: what stands in a message behind `keep` bytes.
struct CutPlace {
  std::size_t message, keep = 0;
};

/// A conversation as it is asked.
struct ChatRequest {
  GenerationRequest generation;  ///< without its seed
  bool fits = true;              ///< false: it is longer than the model and cannot be asked
  bool short_room = false;       ///< less room for the answer than was wanted
  std::vector<std::string> flags = {};
};

/// Conversations -> prompts of a chat template that fit the model, for the tasks that let it write.
class ChatWriter {
 public:
  /// The options "template", "max_new_tokens" and "temperature".
  static std::vector<TaskOption> options();

  void set_measure(const TextMeasure& measure) { measure_ = measure; }
  /// Reads these options; after set_measure(). std::invalid_argument for bad ones.
  void configure(const std::string& task, const TaskOptions& options);

  /// The option, or what the protocol has where it says "auto".
  double temperature(double of_protocol) const;

  /// Room for the whole answer: the places lose their ends in order, as little as will do, and the
  /// flag "cut" says so. Where even that is not enough, the flag is "overflow".
  ChatRequest cut_to_fit(const std::vector<ChatMessage>& messages,
                         const std::vector<CutPlace>& places, double temperature) const;
  /// Nothing is cut: the answer gets the room that is left. Flag "overflow" where there is none.
  ChatRequest as_it_is(const std::vector<ChatMessage>& messages, double temperature) const;

  /// Flags of the answer to a request: "overflow" where the model's length ended it.
  static std::vector<std::string> flags(const ChatRequest& request, const Generation& answer);

 private:
  ChatRequest request(const std::vector<ChatMessage>& messages, double temperature) const;
  bool cut_one(std::vector<ChatMessage>& messages, const CutPlace& place, int64_t most) const;
  int64_t count(const std::vector<ChatMessage>& messages) const;

  TextMeasure measure_;
  ChatTemplate template_;
  std::string temperature_;
  int64_t max_new_tokens_ = 0;
  std::vector<std::string> split_;  ///< special texts that the tokenizer takes for letters
  // Cutting tries many lengths, and every request is made several times.
  mutable std::mutex mutex_;
  mutable std::map<std::string, ChatRequest> cut_;
};

}  // namespace cupel
