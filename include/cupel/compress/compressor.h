#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cupel/calibration/input_stats.h"
#include "cupel/checkpoint/packing.h"

namespace cupel {

class SharedFactors;

/// Keeps the factor of the last Hessian, so that layers with the very same InputStats, one after the
/// other, factor it once: pass the same handle with each of them. Results are the same bytes as without.
/// For one thread at a time.
std::shared_ptr<SharedFactors> make_shared_factors();

/// One linear layer to compress.
struct LayerTask {
  std::string name;
  torch::Tensor weight;                     ///< [out, in], float32, bfloat16 or float16
  const InputStats& stats;                  ///< of its inputs
  torch::Tensor mask;                       ///< [out, in] bool of an earlier pruning; stays zero
  const InputStats* dense_stats = nullptr;  ///< of the same layer's inputs in the dense model
  int64_t prune_count = -1;  ///< weights to prune, from an allocation; -1 = as the method says
  bool measure_loss = true;  ///< false: finish_result() leaves loss and relative_error empty
  SharedFactors* shared = nullptr;  ///< of make_shared_factors(), or none
};

/// What became of a layer. Tensors are undefined, and optionals empty, where not applicable.
struct LayerResult {
  std::string name;
  torch::Tensor weight;       ///< [out, in], dtype of the task's weight
  torch::Tensor mask;         ///< [out, in] bool, true = keep
  torch::Tensor codes;        ///< [out, in] uint8
  torch::Tensor scales;       ///< [out, groups] float32
  torch::Tensor zeros;        ///< [out, groups] int32
  torch::Tensor group_index;  ///< [in] int32
  torch::Tensor permutation;  ///< [in] int64, the order in which columns were treated
  int64_t bits = 0;           ///< of the codes; 0 = not quantized

  double sparsity = 0;                   ///< fraction of zero weights
  std::optional<double> loss;            ///< ||X dW^T||^2 / tokens
  std::optional<double> relative_error;  ///< ||X dW^T||^2 / ||X W^T||^2
  std::optional<double> sweep_loss;      ///< of methods that sweep columns
  std::optional<double> damping;         ///< as a fraction of the Hessian's mean diagonal
  std::vector<std::string> rungs;        ///< every attempt of a damping ladder
  int64_t rows = 0, columns = 0;
  int64_t dead_columns = 0;  ///< inputs that were zero in every calibration token
  int64_t tokens = 0;        ///< calibration tokens that reached the layer
  int64_t packed_bytes = 0;  ///< size if packed (computed, see packed_bytes())
  double seconds = 0;
  std::vector<std::string> notes;  ///< whatever a reader of the result should know

  Quantized quantized() const { return {codes, scales, zeros, group_index, bits}; }
};

/// What to do with NaN and infinite weights: refuse the layer (NumericalError), or keep the rows that
/// hold them exactly as they are and compress the others. Kept rows are in the result's notes.
enum class NanPolicy { refuse, keep };

NanPolicy parse_nan_policy(const std::string& name);  ///< "refuse" or "keep"

/// The name, and the mask of an earlier pruning, of a bare tensor to compress.
struct LayerOptions {
  std::string name = "weight";
  torch::Tensor mask = {};
  int64_t prune_count = -1;  ///< exactly so many weights go; -1 = as the method says
  NanPolicy nan_policy = NanPolicy::refuse;
  bool measure_loss = true;  ///< false: loss and relative_error stay empty, which saves their time
  std::shared_ptr<SharedFactors> shared = nullptr;  ///< of make_shared_factors()
};

/// A compression method. Subclass it and override compress(const LayerTask&), which must be pure:
/// no model, no file, no global state.
class Compressor {
 public:
  virtual ~Compressor() = default;

  virtual LayerResult compress(const LayerTask& task) const = 0;
  /// The statistics it needs; only these are collected.
  virtual Needs needs() const { return Needs::gram; }
  /// Short name, for tables and records ("wanda 50%").
  virtual std::string name() const = 0;
  /// Options as a JSON object, for provenance.
  virtual std::string options_json() const { return "{}"; }

  /// The same on bare tensors.
  LayerResult compress(const torch::Tensor& weight, const InputStats& stats,
                       const LayerOptions& options = {}) const;
  /// For methods that need no statistics.
  LayerResult compress(const torch::Tensor& weight, const LayerOptions& options = {}) const;
};

/// method.compress(task), with rows that hold NaN or infinite weights left as they are: mask true,
/// losses those of the other rows. A result with such rows has no codes, for none stand for NaN.
LayerResult compress_finite_rows(const Compressor& method, const LayerTask& task);

/// Fills what every method reports alike: sparsity, loss, relative error, dead columns, tokens,
/// shape and packed bytes, from task and result weights. Call it last in your own compressor.
void finish_result(const LayerTask& task, LayerResult& result);

/// Refuses what no method can work with, naming the layer: a weight that is not a float matrix,
/// NaN or infinite weights (NumericalError), statistics of another width or without what `needs`
/// asks for, zero calibration tokens (NumericalError), a mask of another shape. Returns the largest |weight|.
double check_task(const char* function, const LayerTask& task, Needs needs);

}  // namespace cupel
