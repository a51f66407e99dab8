#include "cupel/text/chat.h"

#include "support/catch.h"

using namespace cupel;

namespace {

const std::vector<ChatMessage> kTwoTurns{
    {"user", "Hi?"}, {"assistant", "Hello."}, {"user", "Again."}};

}  // namespace

TEST_CASE("chat_prompt: vicuna_v1.1 as FastChat writes it") {
  const std::string system =
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
      "helpful, detailed, and polite answers to the user's questions.";
  CHECK(chat_prompt("vicuna_v1.1", {{"user", "Hi?"}}) == system + " USER: Hi? ASSISTANT:");
  CHECK(chat_prompt("vicuna_v1.1", kTwoTurns) ==
        system + " USER: Hi? ASSISTANT: Hello.</s>USER: Again. ASSISTANT:");
  CHECK(chat_prompt("vicuna_v1.1", {{"system", "Be short."}, {"user", "Hi?"}}) ==
        "Be short. USER: Hi? ASSISTANT:");
}

TEST_CASE("chat_prompt: llama-2 as its authors write it, but for the first BOS") {
  CHECK(chat_prompt("llama-2", {{"user", "Hi?"}}) == "[INST] Hi? [/INST]");
  CHECK(chat_prompt("llama-2", kTwoTurns) ==
        "[INST] Hi? [/INST] Hello. </s><s>[INST] Again. [/INST]");
  CHECK(chat_prompt("llama-2", {{"system", "Be short."}, {"user", "Hi?"}}) ==
        "[INST] <<SYS>>\nBe short.\n<</SYS>>\n\nHi? [/INST]");
}

TEST_CASE("chat_prompt: chatml and none") {
  CHECK(chat_prompt("chatml", {{"system", "Be short."}, {"user", "Hi?"}}) ==
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi?<|im_end|>\n"
        "<|im_start|>assistant\n");
  CHECK(chat_prompt("none", kTwoTurns) == "Again.");
  CHECK(chat_templates().get("chatml").stop == std::vector<std::string>{"<|im_end|>"});
  CHECK(chat_templates().get("none").stop.empty());
}

TEST_CASE("chat_prompt: roles and their order") {
  const auto refused = [](const std::vector<ChatMessage>& messages, const char* rule) {
    for (const auto& name : chat_templates().names()) {
      if (name == "model") continue;  // a place that a folder's own template takes
      INFO(name << ": " << rule);
      CHECK_THROWS_WITH(chat_prompt(name, messages), Catch::Contains(rule));
    }
  };
  refused({}, "there must be a message");
  refused({{"tool", "x"}}, "Got 'tool' in message 0");
  refused({{"assistant", "x"}, {"user", "y"}}, "Got 'assistant' where 'user' is due, in message 0");
  refused({{"user", "x"}, {"user", "y"}}, "Got 'user' where 'assistant' is due, in message 1");
  refused({{"user", "x"}, {"system", "y"}}, "Got 'system' where 'assistant' is due, in message 1");
  refused({{"user", "x"}, {"assistant", "y"}}, "the last message is the user's. Got 'assistant'");
  refused({{"system", "x"}}, "the last message is the user's. Got 'system'");
}

TEST_CASE("chat_templates: one's own can be added") {
  chat_templates().add("shout", {[](const std::vector<ChatMessage>& messages) {
                         return messages.back().content + "!";
                       }});
  CHECK(chat_prompt("shout", kTwoTurns) == "Again.!");
  chat_templates().remove("shout");
  CHECK_THROWS_WITH(
      chat_prompt("shout", kTwoTurns),
      Catch::Contains("unknown chat template 'shout'; known: chatml, llama-2, model, none, "
                      "vicuna_v1.1"));
}
