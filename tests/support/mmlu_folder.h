#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cupel/eval/task.h"
#include "support/temporary_folder.h"

namespace cupel::test {

/// Two subjects of the map and one of its own, two dev questions each.
class MmluFolder {
 public:
  MmluFolder() {
    for (const char* split : {"dev", "val", "test"}) {
      std::filesystem::create_directory(folder_.file(split));
    }
    for (const char* subject : {"astronomy", "moral_disputes", "knots"}) {
      const std::string name = subject;
      write("dev", name,
            name + " 1?,a1,b1,c1,d1,A\n\" " + name + " 2,\nor not? \",a2,b2,c2,d2,D\n");
      write("val", name, "val " + name + ",a,b,c,d,C\n");
    }
    write("test", "astronomy", "Which star?,Sun,Mars,Moon,Io,A\nWhich moon?,Sun,Mars,Io,None,C\n");
    write("test", "moral_disputes", "\" Is it\nright? \",yes, no,\"it \"\"is\"\"\",none,B\n");
    write("test", "knots", "Which knot?,reef,granny,é,bowline,A");
  }

  const std::string& path() const { return folder_.path(); }
  std::string file(const std::string& split, const std::string& subject) const {
    return folder_.file(split + "/" + subject + "_" + split + ".csv");
  }
  void write(const std::string& split, const std::string& subject, const std::string& text) const {
    folder_.write(split + "/" + subject + "_" + split + ".csv", text);
  }

 private:
  TemporaryFolder folder_;
};

using OptionMap = std::map<std::string, std::string>;

inline std::vector<TaskItem> load(Task& task, const std::string& path, OptionMap changed = {}) {
  for (const auto& option : task.info().options) changed.emplace(option.name, option.value);
  return task.load(path, TaskOptions("mmlu", changed));
}

inline std::string prompt(const Task& task, const TaskItem& item, const std::string& protocol) {
  return task.requests(item, protocol, {}).at(0).context;
}

inline TaskOutput likelihood(double value, bool greedy = false) {
  return {.likelihood = {.value = value, .is_greedy = greedy, .tokens = 1}};
}

inline TaskOutput greedy(const std::string& text) {
  TaskOutput output = likelihood(-1);
  output.likelihood.greedy_text = text;
  return output;
}

}  // namespace cupel::test
