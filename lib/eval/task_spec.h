#pragma once

#include <map>
#include <string>
#include <vector>

#include "cupel/eval/task.h"

namespace cupel {

/// "perplexity:file=a.txt,length=256" taken apart.
struct TaskSpec {
  std::string name;
  std::map<std::string, std::string> options;
  std::string key;  ///< under which its results stand
};

/// Takes the texts apart and names the results. std::invalid_argument for none, one twice, or a
/// text of another form.
std::vector<TaskSpec> parse_tasks(const std::vector<std::string>& texts);

/// Takes "file" out of the options, or the default below `data`; "" when there is neither.
std::string take_path(TaskSpec& spec, const std::string& data, const std::string& below);

/// Takes "protocols" out of the options: some of `known`, in that order, or all.
std::vector<std::string> take_protocols(TaskSpec& spec, const std::vector<std::string>& known);

/// What is left of the options over the task's defaults; an unknown one is an error.
TaskOptions fill_options(const TaskSpec& spec, const TaskInfo& info);

}  // namespace cupel
