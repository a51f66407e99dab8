#include "eval/task_spec.h"

#include <algorithm>
#include <map>
#include <set>

#include "cupel/core/check.h"

namespace cupel {

namespace {

TaskSpec parse_task(const std::string& text) {
  const std::size_t colon = text.find(':');
  TaskSpec spec{text.substr(0, colon), {}, ""};
  for (std::size_t begin = colon; begin != std::string::npos;) {
    const std::size_t end = text.find(',', begin + 1);
    const std::string part =
        text.substr(begin + 1, end == std::string::npos ? end : end - begin - 1);
    const std::size_t equals = part.find('=');
    check(equals != std::string::npos && equals > 0, "evaluate",
          "a task is name or name:key=value,key=value. Got '", text, "'.");
    const bool fresh = spec.options.emplace(part.substr(0, equals), part.substr(equals + 1)).second;
    check(fresh, "evaluate", "a task option stands once. Got '", text, "'.");
    begin = end;
  }
  return spec;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::vector<TaskSpec> parse_tasks(const std::vector<std::string>& texts) {
  std::vector<std::string> known = tasks().names();
  known.emplace_back("perplexity");
  check(!texts.empty(), "evaluate", "at least one task is needed; there are: ", joined(known), ".");
  std::vector<TaskSpec> specs;
  std::map<std::string, int64_t> uses;
  for (const auto& text : texts) {
    specs.push_back(parse_task(text));
    check(std::find(known.begin(), known.end(), specs.back().name) != known.end(), "evaluate",
          "unknown task '", specs.back().name, "'; known: ", joined(known), ".");
    ++uses[specs.back().name];
  }
  std::set<std::string> keys;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    specs[i].key = uses.at(specs[i].name) == 1 ? specs[i].name : texts[i];
    check(keys.insert(specs[i].key).second, "evaluate", "a task stands once. Got '", texts[i],
          "'.");
  }
  return specs;
}

std::string take_path(TaskSpec& spec, const std::string& data, const std::string& below) {
  const auto file = spec.options.extract("file");
  if (!file.empty()) return file.mapped();
  return data.empty() || below.empty() ? "" : data + "/" + below;
}

std::vector<std::string> take_protocols(TaskSpec& spec, const std::vector<std::string>& known) {
  const auto wanted = spec.options.extract("protocols");
  if (wanted.empty()) return known;
  std::set<std::string> names;
  for (std::size_t begin = 0; begin <= wanted.mapped().size();) {
    const std::size_t end = std::min(wanted.mapped().find('+', begin), wanted.mapped().size());
    const std::string name = wanted.mapped().substr(begin, end - begin);
    check(std::find(known.begin(), known.end(), name) != known.end(), "evaluate", spec.name,
          " has the protocols ", joined(known), ". Got '", name, "'.");
    names.insert(name);
    begin = end + 1;
  }
  std::vector<std::string> protocols;
  for (const auto& name : known) {
    if (names.count(name)) protocols.push_back(name);
  }
  return protocols;
}

TaskOptions fill_options(const TaskSpec& spec, const TaskInfo& info) {
  std::map<std::string, std::string> values;
  std::vector<std::string> known{"file", "protocols"};
  for (const auto& option : info.options) {
    values[option.name] = option.value;
    known.push_back(option.name);
  }
  for (const auto& [name, value] : spec.options) {
    check(values.count(name), "evaluate", spec.name, " knows the options ", joined(known),
          ". Got '", name, "'.");
    values[name] = value;
  }
  return TaskOptions(spec.name, values);
}

}  // namespace cupel
