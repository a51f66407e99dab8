#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cupel/compress/compress_model.h"
#include "cupel/eval/compare.h"
#include "cupel/eval/evaluate.h"

namespace cupel {

/// A table of text cells.
struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;

  std::string to_csv() const;  ///< RFC 4180 quoting
  std::string to_markdown() const;
};

/// One row a compressed layer: shape, sparsity, bits, loss, relative error, dead columns, packed
/// bytes (computed), seconds.
Table layer_table(const CompressionResult& result);

/// One model of a report.
struct ReportEntry {
  std::string name;
  EvalResult scores;
  int64_t disk_bytes = 0;    ///< of the weight files as written
  int64_t packed_bytes = 0;  ///< computed: codes, scales, zeros and masks, counted exactly
  /// With the dense one, when it is made already; else the tables below make it.
  std::optional<Comparison> comparison = {};
};

/// Dense first, then the others against it: perplexity, ratio, loss difference with its paired
/// standard error, sizes. Without `dense` the paired columns are left out.
Table score_table(const std::optional<ReportEntry>& dense, const std::vector<ReportEntry>& entries);

/// The same for tasks that score items: a row a metric, with its items, value, difference, interval,
/// McNemar's p adjusted by Holm, flips and verdict (see PairedTask). Metrics of single categories are
/// left out; scores.json has them.
Table task_table(const std::optional<ReportEntry>& dense, const std::vector<ReportEntry>& entries);

/// Writes scores.json (of the one entry), scores.csv and scores.md into `dir`, each atomically; with
/// tasks that score items tasks.csv as well, with `dense` comparison.json.
void write_report(const std::string& dir, const ReportEntry& entry,
                  const std::optional<ReportEntry>& dense = {});

/// Bytes of the weight files (*.safetensors) in a model folder.
int64_t weight_bytes_on_disk(const std::string& dir);

}  // namespace cupel
