#include "cupel/text/chat.h"

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

using Messages = std::vector<ChatMessage>;

// The system message, if there is one, and where the conversation proper begins.
const std::string* system_of(const Messages& messages, std::size_t& first) {
  first = messages.front().role == "system" ? 1 : 0;
  return first == 1 ? &messages.front().content : nullptr;
}

// FastChat's "vicuna_v1.1": an answer ends with </s>, and the next question follows without a space.
std::string vicuna(const Messages& messages) {
  std::size_t first = 0;
  const std::string* system = system_of(messages, first);
  std::string prompt =
      system
          ? *system
          : "A chat between a curious user and an artificial intelligence assistant. The assistant "
            "gives helpful, detailed, and polite answers to the user's questions.";
  prompt += " ";
  for (std::size_t i = first; i < messages.size(); ++i) {
    const bool user = messages[i].role == "user";
    prompt += (user ? "USER: " : "ASSISTANT: ") + messages[i].content + (user ? " " : "</s>");
  }
  return prompt + "ASSISTANT:";
}

// FastChat's "llama-2", which is what the model's authors published; BOS and EOS stand around every
// pair of messages, the first BOS being the scorer's.
std::string llama_2(const Messages& messages) {
  std::size_t first = 0;
  const std::string* system = system_of(messages, first);
  std::string prompt = "[INST] ";
  if (system) prompt += "<<SYS>>\n" + *system + "\n<</SYS>>\n\n";
  for (std::size_t i = first; i < messages.size(); ++i) {
    const bool user = messages[i].role == "user";
    if (user && i > first) prompt += "[INST] ";
    prompt += messages[i].content + (user ? " [/INST]" : " </s><s>");
    if (user && i + 1 < messages.size()) prompt += " ";
  }
  return prompt;
}

std::string chatml(const Messages& messages) {
  std::string prompt;
  for (const auto& message : messages) {
    prompt += "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n";
  }
  return prompt + "<|im_start|>assistant\n";
}

std::string none(const Messages& messages) { return messages.back().content; }

// Jinja templates are rendered in Python, which puts the real one in this place.
std::string of_the_model(const Messages&) {
  check(false, "chat_prompt",
        "the chat template \"model\" is read from a model's folder, by `cupel evaluate`, `cupel "
        "kick` "
        "or use_model_template() in Python. Got no such folder.");
  return "";
}

}  // namespace

void check_chat(const std::vector<ChatMessage>& messages) {
  const char* here = "chat_prompt";
  check(!messages.empty(), here, "there must be a message.");
  const std::size_t first = messages.front().role == "system" ? 1 : 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    check(role == "system" || role == "user" || role == "assistant", here,
          "roles are system, user and assistant. Got '", printable(role, 40), "' in message ", i,
          ".");
    const char* wanted = (i - first) % 2 == 0 ? "user" : "assistant";
    check(i < first || role == wanted, here,
          "after a system message, if there is one, user and assistant take turns, the user first. "
          "Got '",
          role, "' where '", wanted, "' is due, in message ", i, ".");
  }
  check(messages.back().role == "user", here, "the last message is the user's. Got '",
        messages.back().role, "'.");
}

std::string chat_prompt(const std::string& name, const std::vector<ChatMessage>& messages) {
  const ChatTemplate found = chat_templates().get(name);
  check_chat(messages);
  return found.prompt(messages);
}

Registry<ChatTemplate>& chat_templates() {
  // Never destroyed: an entry may hold a Python function, and the interpreter ends first.
  static auto* registry = [] {
    auto* known = new Registry<ChatTemplate>("chat template");
    known->add("vicuna_v1.1", {vicuna, {"</s>"}, {"</s>"}});
    known->add("llama-2", {llama_2, {"</s>"}, {"</s>", "<s>"}});
    known->add("chatml", {chatml, {"<|im_end|>"}, {"<|im_start|>", "<|im_end|>"}});
    known->add("none", {none, {}, {}});
    known->add("model", {of_the_model, {}, {}});
    return known;
  }();
  return *registry;
}

}  // namespace cupel
