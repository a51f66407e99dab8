#include "eval/tasks/jsonl_items.h"

#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "text/json_lines.h"

namespace cupel {

void JsonlRecord::fail(const std::string& rule) const {
  throw FormatError(file_, c10::str("line ", line_), rule);
}

const Json& JsonlRecord::at(const std::string& field, bool right, const char* type) const {
  if (!has(field)) {
    std::string names;
    for (const auto& entry : fields_.items()) names += (names.empty() ? "" : ", ") + entry.key();
    fail(c10::str("there is no field \"", field, "\". Got {", printable(names, 200), "}."));
  }
  if (!right) {
    fail(c10::str("the field \"", field, "\" must be ", type, ". Got ",
                  printable(dump_json(fields_.at(field)), 60), "."));
  }
  return fields_.at(field);
}

std::string JsonlRecord::text(const std::string& field) const {
  return at(field, has(field) && fields_.at(field).is_string(), "a string").get<std::string>();
}

std::vector<std::string> JsonlRecord::texts(const std::string& field) const {
  bool right = has(field) && fields_.at(field).is_array();
  if (right) {
    for (const auto& value : fields_.at(field)) right = right && value.is_string();
  }
  return at(field, right, "a list of strings").get<std::vector<std::string>>();
}

std::vector<std::string> JsonlRecord::one_or_more(const std::string& field) const {
  const auto found = fields_.find(field);
  if (found != fields_.end() && found->is_string()) return {text(field)};
  return texts(field);
}

int64_t JsonlRecord::whole(const std::string& field) const {
  return at(field, has(field) && fields_.at(field).is_number_integer(), "a whole number")
      .get<int64_t>();
}

TaskItem JsonlRecord::item(int64_t number) const {
  TaskItem item{std::to_string(number), ""};
  const char* name = has("id") ? "id" : "question_id";
  if (has(name)) {
    item.id = fields_.at(name).is_number_integer() ? dump_json(fields_.at(name)) : text(name);
    if (item.id.empty()) fail("an id is not empty.");
  }
  if (has("category")) item.category = text("category");
  return item;
}

std::vector<TaskItem> read_jsonl_items(
    const std::string& path, const std::function<void(const JsonlRecord&, TaskItem&)>& make) {
  std::vector<TaskItem> items;
  std::map<std::string, int64_t> lines;  // of each id
  for_each_json_line(path, [&](int64_t line, Json& fields) {
    const JsonlRecord record(path, line, std::move(fields));
    TaskItem item = record.item(static_cast<int64_t>(items.size()));
    const auto [earlier, fresh] = lines.emplace(item.id, line);
    if (!fresh) {
      record.fail(c10::str("the id \"", printable(item.id, 60), "\" stands in line ",
                           earlier->second, " already."));
    }
    make(record, item);
    items.push_back(std::move(item));
  });
  if (items.empty()) throw FormatError(path, "", "there is no item in the file.");
  return items;
}

}  // namespace cupel
