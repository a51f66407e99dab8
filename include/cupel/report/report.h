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
  Scores scores;
  int64_t disk_bytes = 0;    ///< of the weight files as written
  int64_t packed_bytes = 0;  ///< computed: codes, scales, zeros and masks, counted exactly
};

/// Dense first, then the others against it: perplexity, ratio, loss difference with its paired
/// standard error, sizes. Without `dense` the paired columns are left out.
Table score_table(const std::optional<ReportEntry>& dense, const std::vector<ReportEntry>& entries);

/// Writes scores.json (of the one entry), scores.csv and scores.md into `dir`, each atomically.
void write_report(const std::string& dir, const ReportEntry& entry,
                  const std::optional<ReportEntry>& dense = {});

/// Bytes of the weight files (*.safetensors) in a model folder.
int64_t weight_bytes_on_disk(const std::string& dir);

}  // namespace cupel
