#include "support/catch.h"

#include <string>
#include <vector>

#include "cupel/eval/task.h"
#include "support/mmlu_folder.h"

using namespace cupel;
using namespace cupel::test;

namespace {

// One token a character.
TextMeasure letters(int64_t limit) {
  return {.limit = limit,
          .count = [](const std::string& text) { return static_cast<int64_t>(text.size()); }};
}

}  // namespace

TEST_CASE("mmlu: shots are dropped until the prompt fits, then the question is cut") {
  const MmluFolder folder;
  const auto task = mmlu();
  const auto free = load(*task, folder.path(), {{"shots", "2"}});
  const auto length = [&](const Task& of, const TaskItem& item) {
    return static_cast<int64_t>(prompt(of, item, "strict").size());
  };
  const auto full = length(*task, free[3]);
  const auto shots = [&](int64_t limit, const std::string& protocol, const OptionMap& more = {}) {
    const auto fresh = mmlu();
    fresh->set_measure(letters(limit));
    OptionMap options{{"shots", "2"}};
    options.insert(more.begin(), more.end());
    const auto items = load(*fresh, folder.path(), options);
    CHECK(length(*fresh, items[3]) + 2 <= limit);
    return items[3].text(protocol + "_shots");
  };
  // Two characters of " A" must follow.
  CHECK(shots(full + 2, "strict") == "2");
  CHECK(shots(full + 1, "strict") == "1");
  CHECK(shots(full + 1, "paper") == "1");
  CHECK(shots(full + 1000, "paper") == "2");
  const std::size_t second = std::string(
                                 " moral_disputes 2,\nor not? \nA. a2\nB. b2\nC. c2\nD. "
                                 "d2\nAnswer: D\n\n")
                                 .size();
  const std::size_t first =
      std::string("moral_disputes 1?\nA. a1\nB. b1\nC. c1\nD. d1\nAnswer: A\n\n").size();
  const int64_t one = full - static_cast<int64_t>(second);
  const int64_t none = one - static_cast<int64_t>(first);
  CHECK(shots(one + 2, "paper") == "1");
  CHECK(shots(one + 1, "paper") == "0");
  CHECK(shots(none + 2, "paper") == "0");
  // The longest option is ' it "is"', 8 characters behind a space.
  CHECK(shots(full + 8, "strict", {{"full_text", "1"}}) == "2");
  CHECK(shots(full + 7, "strict", {{"full_text", "1"}}) == "1");
  CHECK(shots(full + 7, "paper", {{"full_text", "1"}}) == "2");
}

TEST_CASE("mmlu: a prompt that does not fit without shots loses its beginning, and says so") {
  const MmluFolder folder;
  const std::string question(100, 'x');
  folder.write("test", "knots", "12345" + question + "é6789,reef,granny,bow,bowline,A\n");
  const auto whole = mmlu();
  const auto whole_items = load(*whole, folder.path(), {{"shots", "0"}});
  const std::string all = prompt(*whole, whole_items[2], "strict");
  for (const int64_t kept : {105, 50, 6, 4, 0}) {
    const auto task = mmlu();
    task->set_measure(letters(static_cast<int64_t>(all.size()) + 2 - (111 - kept)));
    const auto items = load(*task, folder.path(), {{"shots", "2"}});
    const std::string text = prompt(*task, items[2], "strict");
    INFO(text);
    CHECK(prompt(*task, items[2], "paper") == text);
    const std::string end = ("12345" + question + "é6789").substr(111 - kept);
    CHECK(text == "The following are multiple choice questions (with answers) about  knots.\n\n" +
                      end + "\nA. reef\nB. granny\nC. bow\nD. bowline\nAnswer:");
    const auto score = task->score(items[2], "paper", {greedy(" A")});
    CHECK(score.values.at("accuracy") == 1);
    CHECK(score.flags ==
          std::vector<std::string>{"shots_dropped", "shots_0", "cut", "unknown_subject"});
  }
  // Not even the header and the options: the end of what there is.
  const auto task = mmlu();
  task->set_measure(letters(20));
  const auto items = load(*task, folder.path(), {{"shots", "2"}});
  CHECK(prompt(*task, items[2], "paper") == "D. bowline\nAnswer:");
  task->set_measure(letters(1));
  CHECK(prompt(*task, load(*task, folder.path(), {{"shots", "2"}})[2], "paper") == "");
}
