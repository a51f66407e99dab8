#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cupel/core/registry.h"

namespace cupel {

/// One message of a conversation.
struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// How a model was taught to see a conversation.
struct ChatTemplate {
  /// The prompt that asks for the assistant's next answer. Without BOS in front, which is the
  /// scorer's to add.
  std::function<std::string(const std::vector<ChatMessage>& messages)> prompt;
  /// Texts that end an answer, beside the end of sequence.
  std::vector<std::string> stop = {};
  /// Texts of the prompt that the model knows as one token each. To a tokenizer that does not read
  /// special tokens from text they are letters.
  std::vector<std::string> special = {};
};

/// All templates by name; add yours here. Built in:
///   "vicuna_v1.1", "llama-2"  as FastChat has them; vicuna's has a system message of its own where
///                             none is given
///   "chatml"                  <|im_start|>role, the text, <|im_end|>
///   "none"                    the last user message as it is
///   "model"                   stands for that of the model's own folder, which Python registers;
///                             until then its prompt() is a std::invalid_argument
Registry<ChatTemplate>& chat_templates();

/// The prompt of the template `name`. std::invalid_argument unless the messages are: one of the
/// system, or none, then user and assistant in turn, the user first and last.
std::string chat_prompt(const std::string& name, const std::vector<ChatMessage>& messages);

/// That rule by itself, for templates of your own.
void check_chat(const std::vector<ChatMessage>& messages);

}  // namespace cupel
