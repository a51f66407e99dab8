#include "eval/tasks/json_view.h"

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"
#include "text/json_lines.h"

namespace cupel {

void JsonView::fail(const std::string& rule) const {
  const char* comma = line_.empty() || path_.empty() ? "" : ", ";
  throw FormatError(file_, line_ + comma + path_, rule);
}

void JsonView::wrong_kind(const char* wanted) const {
  fail(c10::str("must be ", wanted, ". Got ", printable(dump_json(*value_), 60), "."));
}

JsonView JsonView::inside(const Json& value, const std::string& path) const {
  JsonView view(value, file_, line_);
  view.path_ = path_ + path;
  return view;
}

bool JsonView::has(const std::string& field) const {
  return value_->is_object() && value_->contains(field);
}

JsonView JsonView::at(const std::string& field) const {
  if (!value_->is_object()) wrong_kind("an object");
  const auto found = value_->find(field);
  if (found == value_->end()) {
    std::string names;
    for (const auto& entry : value_->items()) names += (names.empty() ? "" : ", ") + entry.key();
    fail(c10::str("there is no field \"", field, "\". Got {", printable(names, 200), "}."));
  }
  return inside(*found, (path_.empty() ? "" : ".") + field);
}

std::vector<JsonView> JsonView::list() const {
  if (!value_->is_array()) wrong_kind("a list");
  std::vector<JsonView> views;
  for (const auto& value : *value_) {
    views.push_back(inside(value, c10::str("[", views.size(), "]")));
  }
  return views;
}

std::string JsonView::text() const {
  if (!value_->is_string()) wrong_kind("a string");
  return value_->get<std::string>();
}

std::vector<std::string> JsonView::texts() const {
  std::vector<std::string> texts;
  for (const auto& view : list()) texts.push_back(view.text());
  return texts;
}

std::string JsonView::id() const {
  if (value_->is_number_integer()) return dump_json(*value_);
  const std::string id = text();
  if (id.empty()) fail("an id is not empty.");
  return id;
}

void for_each_record(const std::string& path, const std::function<void(const JsonView&)>& record) {
  for_each_json_line(path, [&](int64_t number, const Json& value) {
    record(JsonView(value, path, c10::str("line ", number)));
  });
}

}  // namespace cupel
