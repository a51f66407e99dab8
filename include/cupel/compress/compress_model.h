#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cupel/calibration/windows.h"
#include "cupel/compress/allocation.h"
#include "cupel/compress/compressor.h"
#include "cupel/core/progress.h"
#include "cupel/model/model.h"

namespace cupel {

/// Which inputs a layer is calibrated on.
enum class Propagation {
  staged,  ///< from everything before it as already compressed, within its block too
  block,   ///< earlier blocks compressed, its own block dense (the papers' code)
  dense    ///< from the dense model
};

Propagation parse_propagation(const std::string& name);
std::string to_string(Propagation propagation);

struct CompressOptions {
  std::string propagation = "staged";
  /// Linear layers to leave alone, by exact name, glob ("*.mlp.*") or "re:<pattern>" (matched from
  /// the start, as Python's re.match). An entry that matches nothing is an error.
  std::vector<std::string> skip = {};
  /// When not empty: only the layers that match.
  std::vector<std::string> only = {};
  /// Other methods for some layers, by the same kinds of pattern: the first that matches decides; a
  /// null method leaves the layer alone.
  std::vector<std::pair<std::string, std::shared_ptr<const Compressor>>> overrides = {};
  /// How many weights each layer loses, instead of the pattern's share of each. The layers' method
  /// must prune.
  std::optional<Allocation> allocation = {};
  /// Treat weights that are exactly zero as pruned: they stay zero, and count towards sparsity.
  /// (Masks of an earlier compress() on the same model are kept in any case.)
  bool keep_zeros = false;
  /// What to do with layers that hold NaN or infinite weights.
  NanPolicy nan_policy = NanPolicy::refuse;
  bool keep_tensors = false;  ///< keep weights, codes and scales in the result as well
  bool measure_loss = true;  ///< collect what loss and relative_error need (a Gram matrix a layer),
                             ///< and work them out; false leaves them empty
  ProgressFunction progress = {};
};

/// What a layer was to get.
struct LayerPlan {
  std::string name;
  std::string method;        ///< its compressor's name
  int64_t prune_count = -1;  ///< from an allocation; -1 = as the method says
};

/// What compress() did.
struct CompressionResult {
  std::string method;        ///< the compressor's name
  std::string options_json;  ///< its options
  std::string propagation;
  std::string calibration_hash;  ///< "" without calibration
  int64_t calibration_samples = 0, calibration_tokens = 0;
  std::string allocation;  ///< its name, or ""
  bool keep_zeros = false;
  std::vector<LayerPlan> plan;       ///< in model order
  std::vector<LayerResult> layers;   ///< in model order
  std::vector<std::string> skipped;  ///< linear layers left as they were
  double seconds = 0;

  int64_t weights() const;       ///< in the compressed layers
  double sparsity() const;       ///< zeros among them
  int64_t packed_bytes() const;  ///< of the compressed layers (computed)
  /// Layer name -> [out, in] bool, true = keep; std::invalid_argument when masks were dropped.
  std::map<std::string, torch::Tensor> masks() const;
  std::string to_json() const;  ///< everything but tensors
};

/// Compresses every linear layer inside the blocks, block by block, calibrating each on the text
/// that `calibration` holds. Embeddings, norms and the head are left alone. An empty Calibration
/// will do for methods that need no statistics (losses are then empty). When it throws, the model
/// is as it was before.
CompressionResult compress(Model& model, const Calibration& calibration,
                           const Compressor& compressor, const CompressOptions& options = {});

/// The same from folder to folder with one block in memory at a time, for models larger than
/// memory. `output_dir` must not hold a model; nothing is visible there before all of it is done.
/// With save.format "pack-quantized" every layer that is compressed must be quantized as
/// save_model() asks for, else std::invalid_argument once it is reached.
CompressionResult compress_checkpoint(const std::string& input_dir, const Calibration& calibration,
                                      const Compressor& compressor, const std::string& output_dir,
                                      const CompressOptions& options = {},
                                      const LoadOptions& load = {}, const SaveOptions& save = {});

}  // namespace cupel
