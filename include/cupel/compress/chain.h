#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cupel/compress/compressor.h"

namespace cupel {

/// Several methods one after the other on each layer, such as pruning and then quantization. What
/// one prunes stays exactly zero in all that follow; losses are against the weight that the first
/// was given. An allocation's count goes to the first step.
class Chain : public Compressor {
 public:
  /// std::invalid_argument when there is no step, or a null one.
  explicit Chain(std::vector<std::shared_ptr<const Compressor>> steps);

  using Compressor::compress;
  LayerResult compress(const LayerTask& task) const override;
  Needs needs() const override;
  std::string name() const override;
  std::string options_json() const override;

 private:
  std::vector<std::shared_ptr<const Compressor>> steps_;
};

}  // namespace cupel
