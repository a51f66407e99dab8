// What happens to conversations that are too long for the model; a token is a character here.
#include "eval/tasks/chat_writer.h"

#include "support/catch.h"
#include "eval/tasks/answer_checks.h"

using namespace cupel;

namespace {

// `special` are one token each; the limit counts characters.
TextMeasure characters(int64_t limit, const std::vector<std::string>& special = {}) {
  return {limit, [special](const std::string& text) {
            auto size = static_cast<int64_t>(text.size());
            for (const auto& token : special) {
              for (auto at = text.find(token); at != std::string::npos;
                   at = text.find(token, at + token.size())) {
                size -= static_cast<int64_t>(token.size()) - 1;
              }
            }
            return size + 1;  // BOS
          }};
}

void configure(ChatWriter& writer, const TextMeasure& measure,
               std::map<std::string, std::string> given) {
  std::map<std::string, std::string> values;
  for (const auto& option : ChatWriter::options()) values[option.name] = option.value;
  for (const auto& [name, value] : given) values[name] = value;
  writer.set_measure(measure);
  writer.configure("task", TaskOptions("task", values));
}

struct Dialogue {
  Dialogue() {
    chat_templates().add("plain", {[](const std::vector<ChatMessage>& messages) {
                                     std::string text;
                                     for (const auto& m : messages) text += m.content + "|";
                                     return text;
                                   },
                                   {"|"},
                                   {"</s>"}});
  }
  ~Dialogue() { chat_templates().remove("plain"); }
};

bool has_flag(const ChatRequest& request, const std::string& flag) {
  return std::count(request.flags.begin(), request.flags.end(), flag) == 1;
}

const std::vector<ChatMessage> kTalk{
    {"user", "question"}, {"assistant", "a long answer"}, {"user", "second"}};
const std::vector<CutPlace> kPlaces{{1}, {0}, {2}};

}  // namespace

TEST_CASE("ChatWriter: what fits stays as it is") {
  const Dialogue registered;
  ChatWriter writer;
  configure(writer, characters(200), {{"template", "plain"}, {"max_new_tokens", "20"}});
  for (const auto& request :
       {writer.cut_to_fit(kTalk, kPlaces, 0.5), writer.as_it_is(kTalk, 0.5)}) {
    CHECK(request.generation.prompt == "question|a long answer|second|");
    CHECK(request.generation.max_new_tokens == 20);
    CHECK(request.generation.temperature == 0.5);
    CHECK(request.generation.stop == std::vector<std::string>{"|"});
    CHECK(request.fits);
    CHECK(request.flags.empty());
  }
}

TEST_CASE("ChatWriter: places lose their ends in order, no more than needed") {
  const Dialogue registered;
  ChatWriter writer;
  const auto asked = [&](int64_t limit) {
    configure(writer, characters(limit), {{"template", "plain"}, {"max_new_tokens", "20"}});
    return writer.cut_to_fit(kTalk, kPlaces, 0);
  };
  // 30 characters and BOS must fit into limit - 20.
  CHECK(asked(51).flags.empty());
  CHECK(asked(50).generation.prompt == "question|a long answe|second|");
  CHECK(asked(50).flags == std::vector<std::string>{"cut"});
  CHECK(asked(38).generation.prompt == "question||second|");
  CHECK(asked(37).generation.prompt == "questio||second|");
  CHECK(asked(30).generation.prompt == "||second|");
  CHECK(asked(29).generation.prompt == "||secon|");
  CHECK(asked(24).generation.prompt == "|||");
  CHECK(asked(24).fits);
  CHECK_FALSE(asked(23).fits);  // the template itself is too long
  CHECK(asked(23).flags == std::vector<std::string>{"overflow"});
}

TEST_CASE("ChatWriter: what must stay stays, and characters are not cut in two") {
  const Dialogue registered;
  ChatWriter writer;
  configure(writer, characters(40), {{"template", "plain"}, {"max_new_tokens", "20"}});
  const std::vector<ChatMessage> story{{"user",
                                        "Sum up: \xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9"
                                        "\xC3\xA9\xC3\xA9"}};
  // 8 bytes stay, 10 are left for the rest: five letters of two bytes.
  const auto request = writer.cut_to_fit(story, {{0, 8}}, 0);
  CHECK(request.generation.prompt == "Sum up: \xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9|");
  CHECK(has_flag(request, "cut"));
  CHECK_FALSE(writer.cut_to_fit({{"user", std::string(30, 'x').append("yy")}}, {{0, 30}}, 0).fits);
}

TEST_CASE("ChatWriter: a message that the template does not show is not cut") {
  ChatWriter writer;
  configure(writer, characters(30), {{"template", "none"}, {"max_new_tokens", "20"}});
  const std::vector<ChatMessage> talk{
      {"user", "question"}, {"assistant", "answer"}, {"user", "the second one"}};
  const auto request = writer.cut_to_fit(talk, {{1}, {0}, {2}}, 0);
  CHECK(request.generation.prompt == "the secon");
  CHECK(has_flag(request, "cut"));
}

TEST_CASE("ChatWriter: without cutting the answer gets what is left") {
  const Dialogue registered;
  ChatWriter writer;
  configure(writer, characters(41), {{"template", "plain"}, {"max_new_tokens", "20"}});
  const auto request = writer.as_it_is(kTalk, 0);
  CHECK(request.generation.max_new_tokens == 10);
  CHECK(request.fits);
  // It is only an overflow when the model wanted to write more.
  CHECK(ChatWriter::flags(request, {"x", 3, "end", {}}).empty());
  CHECK(ChatWriter::flags(request, {"x", 10, "length", {}}) ==
        std::vector<std::string>{"overflow"});
  configure(writer, characters(31), {{"template", "plain"}, {"max_new_tokens", "20"}});
  CHECK_FALSE(writer.as_it_is(kTalk, 0).fits);
  CHECK(has_flag(writer.as_it_is(kTalk, 0), "overflow"));
  configure(writer, {}, {{"template", "plain"}});  // nothing is known of lengths
  CHECK(writer.as_it_is(kTalk, 0).generation.max_new_tokens == 1024);
  CHECK(writer.cut_to_fit(kTalk, kPlaces, 0).flags.empty());
}

TEST_CASE("ChatWriter: special tokens that the tokenizer takes for letters are flagged") {
  const Dialogue registered;
  ChatWriter writer;
  const std::vector<ChatMessage> talk{{"user", "a</s>b"}};
  configure(writer, characters(100), {{"template", "plain"}, {"max_new_tokens", "20"}});
  CHECK(has_flag(writer.as_it_is(talk, 0), "special_text"));
  CHECK(writer.as_it_is({{"user", "ab"}}, 0).flags.empty());
  configure(writer, characters(100, {"</s>"}), {{"template", "plain"}, {"max_new_tokens", "20"}});
  CHECK(writer.as_it_is(talk, 0).flags.empty());
}

TEST_CASE("ChatWriter: options") {
  ChatWriter writer;
  const auto most = [&](int64_t limit, const std::string& given) {
    configure(writer, characters(limit), {{"max_new_tokens", given}});
    return writer.as_it_is({{"user", ""}}, 0).generation.max_new_tokens;
  };
  CHECK(most(10000, "auto") == 1024);
  CHECK(most(2048, "auto") == 1024);
  CHECK(most(600, "auto") == 300);
  CHECK(most(600, "7") == 7);
  CHECK_THROWS_WITH(
      most(600, "600"),
      Catch::Contains("task:max_new_tokens leaves room for a prompt in the model's 600 "
                      "positions. Got 600"));
  CHECK_THROWS_WITH(most(600, "0"), Catch::Contains("whole number from 1. Got '0'"));
  configure(writer, {}, {});
  CHECK(writer.temperature(0.3) == 0.3);
  configure(writer, {}, {{"temperature", "0.25"}});
  CHECK(writer.temperature(0.3) == 0.25);
  CHECK_THROWS_WITH(configure(writer, {}, {{"temperature", "-1"}}),
                    Catch::Contains("task:temperature is at least 0. Got -1"));
  CHECK_THROWS_WITH(configure(writer, {}, {{"template", "x"}}),
                    Catch::Contains("unknown chat template 'x'"));
}

TEST_CASE("answer checks: each kind, both ways") {
  const auto holds = [](const std::string& json, const std::string& answer) {
    const auto fail = [](const std::string& rule) { throw std::runtime_error(rule); };
    return follows(read_check(parse_json(json, "test"), fail), answer);
  };
  const std::string answer = " The CAT sat.\n\nIt ran away\n";
  CHECK(holds(R"({"kind": "contains", "value": ["CAT", "ran"]})", answer));
  CHECK_FALSE(holds(R"({"kind": "contains", "value": ["CAT", "dog"]})", answer));
  CHECK(holds(R"({"kind": "not_contains", "value": ["dog", "cat"]})", answer));
  CHECK_FALSE(holds(R"({"kind": "not_contains", "value": ["dog", "CAT"]})", answer));
  CHECK(holds(R"({"kind": "starts_with", "value": "The"})", answer));
  CHECK_FALSE(holds(R"({"kind": "starts_with", "value": "he"})", answer));
  CHECK(holds(R"({"kind": "ends_with", "value": ["far", "away"]})", answer));
  CHECK_FALSE(holds(R"({"kind": "ends_with", "value": "awa"})", answer));
  CHECK(holds(R"({"kind": "words_at_most", "value": 6})", answer));
  CHECK_FALSE(holds(R"({"kind": "words_at_most", "value": 5})", answer));
  CHECK(holds(R"({"kind": "words_at_least", "value": 6})", answer));
  CHECK_FALSE(holds(R"({"kind": "words_at_least", "value": 7})", answer));
  CHECK(holds(R"({"kind": "lines", "value": 2})", answer));
  CHECK_FALSE(holds(R"({"kind": "lines", "value": 3})", answer));
  CHECK(holds(R"({"kind": "upper"})", "YES, 7!"));
  CHECK_FALSE(holds(R"({"kind": "upper"})", "Yes"));
  CHECK_FALSE(holds(R"({"kind": "upper"})", "7"));
  CHECK(holds(R"({"kind": "lower"})", "yes"));
  CHECK_FALSE(holds(R"({"kind": "lower"})", "yeS"));
  CHECK(holds(R"({"kind": "equals", "value": " 42"})", "42\n"));
  CHECK_FALSE(holds(R"({"kind": "equals", "value": "42"})", "42."));
  CHECK(holds(R"({"kind": "regex", "value": "(?i)cat sat\\.\\s+it"})", answer));
  CHECK_FALSE(holds(R"({"kind": "regex", "value": "^CAT"})", answer));
  CHECK_THROWS_AS(holds(R"({"kind": "regex", "value": "^(a|aa)+$"})", std::string(60, 'a') + '!'),
                  std::invalid_argument);
}

TEST_CASE("answer checks: mistakes are named") {
  const auto refused = [](const std::string& json, const std::string& rule) {
    INFO(json);
    const auto fail = [](const std::string& why) { throw std::runtime_error(why); };
    CHECK_THROWS_WITH(read_check(parse_json(json, "test", false), fail), Catch::Contains(rule));
  };
  refused("3", "a check is {\"kind\": ..., \"value\": ...}. Got 3");
  refused(R"({"kind": "longer"})", "has one of the kinds contains, ends_with, equals, lines");
  refused(R"({"kind": "lines", "value": "2"})", "takes a whole number from 0");
  refused(R"({"kind": "lines", "value": -1})", "takes a whole number from 0");
  refused(R"({"kind": "contains", "value": 2})", "takes a text, or a list of them");
  refused(R"({"kind": "contains", "value": []})", "takes a text, or a list of them");
  refused(R"({"kind": "contains", "value": ""})", "takes a text that is not empty");
  refused(R"({"kind": "upper", "value": true})", "takes no value");
  refused(R"({"kind": "upper", "turn": 0})", "counts turns from 1");
  refused(R"({"kind": "upper", "values": 1})", "has the fields kind, value and turn");
  refused(R"({"kind": "regex", "value": "(a"})", "takes a regular expression (PCRE2)");
}
