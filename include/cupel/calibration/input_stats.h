#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <utility>

namespace cupel {

/// Which statistics of a layer's inputs something needs; combine with |.
enum class Needs : int { none = 0, sum = 1, sq_norm = 2, gram = 4 };

constexpr Needs operator|(Needs a, Needs b) { return Needs(int(a) | int(b)); }
constexpr bool includes(Needs all, Needs one) { return (int(all) & int(one)) == int(one); }

/// Where activations came from, so that an error can say it.
struct ActivationSource {
  std::string layer;          ///< name of the linear layer
  int64_t first_sample = 0;   ///< index of the first calibration sample in the tensor
  int64_t sample_tokens = 0;  ///< tokens a sample; 0 = all rows belong to one sample
};

/// Statistics over the inputs x [tokens, in] of a linear layer, un-normalised sums.
///
/// Sums are kept of x / 2^k, with k taken from the largest |x|, so that neither tiny nor huge
/// activations leave float32: inputs times any power of two give bit-equal masks and codes. The
/// accessors return true values while the largest |x| lies in [2^-20, 2^20]; outside of that they
/// return the sums of x / scale(). Wanda's statistic is sq_norm(), GPTQ's Hessian hessian(). They
/// live on the device of the first activations.
class InputStats {
 public:
  explicit InputStats(int64_t columns, Needs needs = Needs::gram);

  /// Adds x [..., in] of any float dtype; leading dimensions count as tokens. Throws
  /// std::invalid_argument on another width, NumericalError on a non-finite value (layer, sample,
  /// token, column).
  void add(const torch::Tensor& x, int64_t sequences = 1, const ActivationSource& source = {});
  /// Adds what `other` has seen; same columns and needs.
  void merge(const InputStats& other);

  int64_t columns() const { return columns_; }
  Needs needs() const { return needs_; }
  int64_t tokens() const { return tokens_; }
  int64_t sequences() const { return sequences_; }

  torch::Tensor sum() const;      ///< [in] float32, sum over tokens of x
  torch::Tensor sq_norm() const;  ///< [in] float32, sum over tokens of x^2
  torch::Tensor gram() const;     ///< [in, in] float32, sum over tokens of x x^T
  /// gram() without a copy: [in, in] as it is summed, whose upper triangle times the factor is
  /// gram(). Nothing below the diagonal is to be read.
  std::pair<torch::Tensor, double> upper_gram() const;
  torch::Tensor hessian() const;  ///< [in, in] float32, 2 / tokens * gram(); NumericalError at 0
  double scale() const;           ///< 1 for ordinary activations; see the class comment
  /// hessian() in float64 from sums in float64, which layers of up to 512 columns keep; elsewhere
  /// hessian() widened.
  torch::Tensor wide_hessian() const;
  bool has_wide_sums() const { return gram_.defined() && gram_.scalar_type() == at::kDouble; }
  torch::Tensor dead() const;    ///< [in] bool, columns that were zero in every token
  int64_t dead_columns() const;  ///< how many

 private:
  double accessor_factor() const;
  void rescale(int exponent);
  void move_to(const torch::Device& device);

  int64_t columns_, tokens_ = 0, sequences_ = 0;
  Needs needs_;
  torch::Device device_ = at::kCPU;
  bool empty_ = true;            // no non-zero value seen yet, exponent_ undecided
  int exponent_ = 0;             // sums are of x * 2^-exponent_
  double largest_ = 0;           // |x|
  torch::Tensor sum_, sq_norm_;  // [in] float64
  torch::Tensor gram_;           // [in, in] float32 or, when narrow, float64; upper triangle
};

}  // namespace cupel
