#pragma once

#include "cupel/compress/compressor.h"
#include "cupel/compress/criterion.h"
#include "cupel/compress/pattern.h"

namespace cupel {

struct PruneOptions {
  Rules rules = Rules::exact;
};

/// Zeroes the weights that a criterion scores lowest; no weight is updated.
class Prune : public Compressor {
 public:
  Prune(Criterion criterion, Pattern pattern, PruneOptions options = {});
  /// A registered criterion: "magnitude", "wanda", or your own.
  Prune(const std::string& criterion, Pattern pattern, PruneOptions options = {});

  using Compressor::compress;
  LayerResult compress(const LayerTask& task) const override;
  Needs needs() const override { return criterion_.needs; }
  std::string name() const override;
  std::string options_json() const override;

 private:
  Criterion criterion_;
  Pattern pattern_;
  PruneOptions options_;
};

}  // namespace cupel
