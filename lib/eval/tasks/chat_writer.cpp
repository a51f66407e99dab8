#include "eval/tasks/chat_writer.h"

#include <algorithm>

#include "cupel/core/check.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

constexpr int64_t kNewTokens = 1024;  // as FastChat and LLM-KICK allow
constexpr std::size_t kRemembered = 2000;

}  // namespace

std::vector<TaskOption> ChatWriter::options() {
  return {
      {"template", "vicuna_v1.1",
       "chat template: vicuna_v1.1, llama-2, chatml, none, model (the folder's own) or yours"},
      {"max_new_tokens", "auto",
       "most tokens of an answer; auto is 1024, or half of the model's positions if that is less"},
      {"temperature", "auto", "auto is as the protocol says; 0 = greedy"}};
}

void ChatWriter::configure(const std::string& task, const TaskOptions& options) {
  template_ = chat_templates().get(options.text("template"));
  check(static_cast<bool>(template_.prompt), "evaluate", "a chat template has a prompt function.");
  temperature_ = options.text("temperature");
  if (temperature_ != "auto") {
    check(options.real("temperature") >= 0, "evaluate", task, ":temperature is at least 0. Got ",
          temperature_, ".");
  }
  max_new_tokens_ = kNewTokens;
  if (options.text("max_new_tokens") != "auto") {
    max_new_tokens_ = options.whole("max_new_tokens", 1);
  } else if (measure_.limit > 0) {
    max_new_tokens_ = std::max<int64_t>(1, std::min(kNewTokens, measure_.limit / 2));
  }
  check(measure_.limit == 0 || max_new_tokens_ < measure_.limit, "evaluate", task,
        ":max_new_tokens leaves room for a prompt in the model's ", measure_.limit,
        " positions. Got ", max_new_tokens_, ".");
  split_.clear();
  for (const auto& special : template_.special) {
    if (!measure_.count) break;
    if (measure_.prompt("a" + special, {special}) - measure_.count("a") != 1) {
      split_.push_back(special);
    }
  }
  cut_.clear();
}

double ChatWriter::temperature(double of_protocol) const {
  return temperature_ == "auto" ? of_protocol : std::stod(temperature_);
}

ChatRequest ChatWriter::request(const std::vector<ChatMessage>& messages,
                                double temperature) const {
  ChatRequest made;
  made.generation.prompt = template_.prompt(messages);
  made.generation.max_new_tokens = max_new_tokens_;
  made.generation.stop = template_.stop;
  made.generation.special = template_.special;
  made.generation.temperature = temperature;
  const auto stands = [&](const std::string& special) {
    return made.generation.prompt.find(special) != std::string::npos;
  };
  if (std::any_of(split_.begin(), split_.end(), stands)) made.flags.push_back("special_text");
  return made;
}

int64_t ChatWriter::count(const std::vector<ChatMessage>& messages) const {
  return measure_.prompt(template_.prompt(messages), template_.special);
}

// Leaves as much of the place as fits, at most none of it; whether the prompt fits then.
bool ChatWriter::cut_one(std::vector<ChatMessage>& messages, const CutPlace& place,
                         int64_t most) const {
  const std::string whole = messages[place.message].content;
  std::vector<std::size_t> ends;  // of what may stay, at characters
  for (std::size_t at = place.keep, length = 0; at < whole.size(); at += length) {
    ends.push_back(at);
    code_point(whole, at, length);
  }
  if (ends.empty()) return false;
  const auto size = [&](std::size_t end) {
    messages[place.message].content = whole.substr(0, end);
    return count(messages);
  };
  const int64_t before = size(whole.size());
  const int64_t least = size(ends.front());
  if (least > most) {
    if (least >= before) messages[place.message].content = whole;  // the template does not show it
    return false;
  }
  std::size_t fits = 0, over = ends.size();
  while (fits + 1 < over) {
    const std::size_t middle = fits + (over - fits) / 2;
    (size(ends[middle]) <= most ? fits : over) = middle;
  }
  messages[place.message].content = whole.substr(0, ends[fits]);
  return true;
}

ChatRequest ChatWriter::cut_to_fit(const std::vector<ChatMessage>& messages,
                                   const std::vector<CutPlace>& places, double temperature) const {
  ChatRequest made = request(messages, temperature);
  const int64_t most = measure_.limit - max_new_tokens_;
  if (!measure_.known() || measure_.prompt(made.generation.prompt, made.generation.special) <= most)
    return made;
  // The places are known by the lengths of the messages, which the key has as well.
  std::string key = c10::str(temperature);
  for (const auto& message : messages) {
    key += c10::str(";", message.content.size(), ";", message.content);
  }
  for (const auto& place : places) key += c10::str(";", place.message, ",", place.keep);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = cut_.find(key); found != cut_.end()) return found->second;
  }
  std::vector<ChatMessage> shorter = messages;
  bool fits = false;
  for (std::size_t i = 0; i < places.size() && !fits; ++i) {
    fits = cut_one(shorter, places[i], most);
  }
  if (fits) {
    made = request(shorter, temperature);
    made.flags.push_back("cut");
  } else {
    made.fits = false;
    made.flags.push_back("overflow");
  }
  const std::lock_guard lock(mutex_);
  if (cut_.size() >= kRemembered) cut_.clear();
  cut_[key] = made;
  return made;
}

ChatRequest ChatWriter::as_it_is(const std::vector<ChatMessage>& messages,
                                 double temperature) const {
  ChatRequest made = request(messages, temperature);
  if (!measure_.known()) return made;
  const int64_t room =
      measure_.limit - measure_.prompt(made.generation.prompt, made.generation.special);
  if (room >= max_new_tokens_) return made;
  made.short_room = true;
  made.fits = room >= 1;
  made.generation.max_new_tokens = std::max<int64_t>(room, 1);
  if (!made.fits) made.flags.push_back("overflow");
  return made;
}

std::vector<std::string> ChatWriter::flags(const ChatRequest& request, const Generation& answer) {
  std::vector<std::string> flags = request.flags;
  if (request.short_room && answer.finish == "length") flags.push_back("overflow");
  return flags;
}

}  // namespace cupel
