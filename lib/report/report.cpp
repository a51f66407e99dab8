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
  const auto add = [&](const ReportEntry& entry, const std::optional<Comparison>& comparison) {
    for (const auto& [task, made] : entry.scores.perplexities) {
      std::vector<std::string> row{entry.name, task, made.protocol, std::to_string(made.length),
                                   number(made.value)};
      if (dense) {
        const PairedPerplexity* paired = nullptr;
        for (const auto& candidate : comparison.value_or(Comparison{}).perplexities) {
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
  for (const auto& entry : entries) {
    add(entry, dense ? std::optional(compare(dense->scores, entry.scores)) : std::nullopt);
  }
  return table;
}

void write_report(const std::string& dir, const ReportEntry& entry,
                  const std::optional<ReportEntry>& dense) {
  const Table table = score_table(dense, {entry});
  std::filesystem::create_directories(dir);
  write_file(dir + "/scores.csv", table.to_csv());
  write_file(dir + "/scores.md", table.to_markdown());
  write_file(dir + "/scores.json", entry.scores.to_json());
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
