#pragma once

#include "cupel/compress/compressor.h"
#include "cupel/compress/grid.h"

namespace cupel {

struct RtnOptions {
  Rules rules = Rules::exact;
};

/// Round-to-nearest quantization: every weight goes to the closest value of its grid. Needs no
/// calibration. Weights that a mask prunes stay exactly zero.
class Rtn : public Compressor {
 public:
  explicit Rtn(Grid grid, RtnOptions options = {});

  using Compressor::compress;
  LayerResult compress(const LayerTask& task) const override;
  Needs needs() const override { return Needs::none; }
  std::string name() const override;
  std::string options_json() const override;

 private:
  Grid grid_;
  RtnOptions options_;
};

}  // namespace cupel
