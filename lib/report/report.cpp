#include "cupel/report/report.h"

#include <cmath>
#include <cstdio>
#include <filesystem>

#include "cupel/core/check.h"
#include "cupel/core/file.h"

namespace cupel {

namespace {

std::string number(double value, const char* format = "%.6g") {
  if (std::isnan(value)) return "";
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string number(const std::optional<double>& value) { return value ? number(*value) : ""; }

std::string bytes(int64_t value) { return value > 0 ? std::to_string(value) : ""; }

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string markdown_cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c == '\n' ? ' ' : c;
  }
  return escaped;
}

std::string line(const std::vector<std::string>& cells, const char* separator,
                 std::string (*cell)(const std::string&)) {
  std::string text;
  for (std::size_t i = 0; i < cells.size(); ++i) text += (i ? separator : "") + cell(cells[i]);
  return text;
}

// The paired columns of one model: empty for the dense one itself.
std::vector<std::string> paired_cells(const PairedPerplexity* paired) {
  if (!paired) return {"", "", ""};
  return {number(paired->ratio, "%.4f"), number(paired->loss_difference, "%+.5f"),
          number(paired->standard_error, "%.5f")};
}

std::vector<std::string> paired_cells(const PairedTask* paired) {
  if (!paired) return std::vector<std::string>(8);
  const bool flips = !std::isnan(paired->p);
  return {number(paired->difference, "%+.4f"),
          number(paired->low, "%+.4f"),
          number(paired->high, "%+.4f"),
          number(paired->p_holm, "%.3g"),
          flips ? std::to_string(paired->flips.right_to_wrong) : "",
          flips ? std::to_string(paired->flips.wrong_to_right) : "",
          number(paired->minimum_detectable_effect, "%.3f"),
          paired->verdict};
}

Comparison comparison_with(const std::optional<ReportEntry>& dense, const ReportEntry& entry) {
  if (!dense) return {};
  return entry.comparison ? *entry.comparison : compare(dense->scores, entry.scores);
}

}  // namespace

std::string Table::to_csv() const {
  std::string text = line(columns, ",", csv_cell) + "\n";
  for (const auto& row : rows) text += line(row, ",", csv_cell) + "\n";
  return text;
}

std::string Table::to_markdown() const {
  std::string text = "| " + line(columns, " | ", markdown_cell) + " |\n|";
  for (std::size_t i = 0; i < columns.size(); ++i) text += i == 0 ? " --- |" : " ---: |";
  text += "\n";
  for (const auto& row : rows) text += "| " + line(row, " | ", markdown_cell) + " |\n";
  return text;
}

Table layer_table(const CompressionResult& result) {
  Table table{{"layer", "rows", "columns", "sparsity", "bits", "loss", "relative_error",
               "dead_columns", "tokens", "packed_bytes_computed", "seconds"},
              {}};
  for (const auto& layer : result.layers) {
    table.rows.push_back({layer.name, std::to_string(layer.rows), std::to_string(layer.columns),
                          number(layer.sparsity), layer.bits > 0 ? std::to_string(layer.bits) : "",
                          number(layer.loss), number(layer.relative_error),
                          std::to_string(layer.dead_columns), std::to_string(layer.tokens),
                          std::to_string(layer.packed_bytes), number(layer.seconds, "%.4f")});
  }
  return table;
}

Table score_table(const std::optional<ReportEntry>& dense,
                  const std::vector<ReportEntry>& entries) {
  Table table{{"model", "task", "protocol", "length", "perplexity"}, {}};
  if (dense) {
    for (const char* name : {"ratio", "loss_difference", "standard_error"}) {
      table.columns.emplace_back(name);
    }
  }
  for (const char* name : {"disk_bytes", "packed_bytes_computed"}) table.columns.emplace_back(name);
  const auto add = [&](const ReportEntry& entry, const Comparison& comparison) {
    for (const auto& [task, made] : entry.scores.perplexities) {
      std::vector<std::string> row{entry.name, task, made.protocol, std::to_string(made.length),
                                   number(made.value)};
      if (dense) {
        const PairedPerplexity* paired = nullptr;
        for (const auto& candidate : comparison.perplexities) {
          if (candidate.task == task) paired = &candidate;
        }
        for (auto& cell : paired_cells(paired)) row.push_back(cell);
      }
      row.push_back(bytes(entry.disk_bytes));
      row.push_back(bytes(entry.packed_bytes));
      table.rows.push_back(row);
    }
  };
  if (dense) add(*dense, {});
  for (const auto& entry : entries) add(entry, comparison_with(dense, entry));
  return table;
}

Table task_table(const std::optional<ReportEntry>& dense, const std::vector<ReportEntry>& entries) {
  Table table{{"model", "task", "protocol", "metric", "items", "value"}, {}};
  if (dense) {
    for (const char* name : {"difference", "low", "high", "p_holm", "right_to_wrong",
                             "wrong_to_right", "minimum_detectable_effect", "verdict"}) {
      table.columns.emplace_back(name);
    }
  }
  const auto add_task = [&](const ReportEntry& entry, const std::string& task,
                            const std::string& protocol, const Comparison& comparison) {
    const auto& values = entry.scores.metrics.at(task).at(protocol);
    const auto items = values.find("items");
    for (const auto& [metric, value] : values) {
      if (metric == "items" || metric.find('/') != std::string::npos) continue;
      std::vector<std::string> row{entry.name,
                                   task,
                                   protocol,
                                   metric,
                                   items == values.end() ? "" : number(items->second, "%.0f"),
                                   number(value)};
      const PairedTask* paired = nullptr;
      for (const auto& candidate : comparison.tasks) {
        const bool same = candidate.task == task && candidate.protocol == protocol;
        if (same && candidate.metric == metric) paired = &candidate;
      }
      if (dense) {
        for (auto& cell : paired_cells(paired)) row.push_back(cell);
      }
      table.rows.push_back(row);
    }
  };
  const auto add = [&](const ReportEntry& entry, const Comparison& comparison) {
    for (const auto& [task, protocols] : entry.scores.items) {
      for (const auto& [protocol, scores] : protocols) add_task(entry, task, protocol, comparison);
    }
  };
  if (dense) add(*dense, {});
  for (const auto& entry : entries) add(entry, comparison_with(dense, entry));
  return table;
}

void write_report(const std::string& dir, const ReportEntry& entry,
                  const std::optional<ReportEntry>& dense) {
  ReportEntry compared = entry;
  if (dense) compared.comparison = comparison_with(dense, entry);
  const Table scores = score_table(dense, {compared}), tasks = task_table(dense, {compared});
  std::string text;
  for (const Table* table : {&scores, &tasks}) {
    if (!table->rows.empty()) text += (text.empty() ? "" : "\n") + table->to_markdown();
  }
  std::filesystem::create_directories(dir);
  write_file(dir + "/scores.csv", scores.to_csv());
  write_file(dir + "/scores.md", text);
  write_file(dir + "/scores.json", entry.scores.to_json());
  // What an earlier report left and this one has not would be another model's.
  for (const char* name : {"/tasks.csv", "/comparison.json"}) std::filesystem::remove(dir + name);
  if (!tasks.rows.empty()) write_file(dir + "/tasks.csv", tasks.to_csv());
  if (dense) write_file(dir + "/comparison.json", compared.comparison->to_json());
}

int64_t weight_bytes_on_disk(const std::string& dir) {
  int64_t total = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (entry.path().extension() == ".safetensors")
      total += static_cast<int64_t>(entry.file_size());
  }
  check(!error, "weight_bytes_on_disk", "the folder must be readable. Got ", dir, ".");
  return total;
}

}  // namespace cupel
