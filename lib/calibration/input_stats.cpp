#include "cupel/calibration/input_stats.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <cmath>

#include "core/clones.h"
#include "core/large_tensor.h"
#include "core/scan.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/parallel.h"
#include "cupel/core/tiled.h"

namespace cupel {

namespace {

// Rows of x are taken in chunks of a fixed size: sums do not depend on threads, and a wide layer
// needs no second float32 copy of everything.
constexpr int64_t kChunk = 2048;
// Columns whose sums one thread makes.
constexpr int64_t kStrip = 256;
// Up to this width the Gram matrix is summed in float64: it costs little there, and a Hessian of few
// tokens keeps what small damping needs.
constexpr int64_t kNarrow = 512;
// Up to this exponent nothing is lost when values are multiplied as they are and only the products are
// brought to scale; beyond it a scaled copy is made first.
constexpr int kPlain = 20;
// Sums are rescaled when data outgrows the first exponent by this much.
constexpr int kHeadroom = 40;

// The Gram matrix of x * factor. Only the upper tiles are summed: half the work, and exactly symmetric.
torch::Tensor whole_gram(const torch::Tensor& upper, double factor) {
  auto gram = upper * (factor * factor);
  mirror_upper_(gram);
  return gram;
}

inline float wide(float x) { return x; }
inline float wide(at::BFloat16 x) { return static_cast<float>(x); }

// Adds up width columns of x and their squares, over its rows in their order.
template <typename Element>
inline __attribute__((always_inline)) void add_columns(const Element* x, int64_t stride,
                                                       int64_t rows, int64_t width, double* total,
                                                       double* square) {
  for (int64_t row = 0; row < rows; ++row, x += stride) {
    for (int64_t i = 0; i < width; ++i) {
      const double value = wide(x[i]);
      total[i] += value;
      square[i] += value * value;
    }
  }
}

CUPEL_CLONES
void add_columns_of(const float* x, int64_t stride, int64_t rows, int64_t width, double* total,
                    double* square) {
  add_columns(x, stride, rows, width, total, square);
}
CUPEL_CLONES
void add_columns_of(const at::BFloat16* x, int64_t stride, int64_t rows, int64_t width,
                    double* total, double* square) {
  add_columns(x, stride, rows, width, total, square);
}

// The sums over the rows of x * unit. Columns are independent and rows are added in their order, so
// neither threads nor other statistics change a byte.
template <typename Element>
void add_sums(const torch::Tensor& x, double unit, const torch::Tensor& sum,
              const torch::Tensor& sq_norm) {
  const int64_t rows = x.size(0), columns = x.size(1);
  const Element* from = x.const_data_ptr<Element>();
  double* totals = sum.defined() ? sum.mutable_data_ptr<double>() : nullptr;
  double* squares = sq_norm.defined() ? sq_norm.mutable_data_ptr<double>() : nullptr;
  parallel_for(columns, kStrip, [&](int64_t begin, int64_t end) {
    double total[kStrip] = {}, square[kStrip] = {};
    add_columns_of(from + begin, columns, rows, end - begin, total, square);
    for (int64_t i = 0; i < end - begin; ++i) {
      if (totals) totals[begin + i] += total[i] * unit;
      if (squares) squares[begin + i] += square[i] * (unit * unit);
    }
  });
}

// Adds x * unit to what is defined of the sums.
void add_values(const torch::Tensor& x, double unit, const torch::Tensor& sum,
                const torch::Tensor& sq_norm, const torch::Tensor& gram) {
  if (x.scalar_type() == at::kBFloat16) {
    add_sums<at::BFloat16>(x, unit, sum, sq_norm);
  } else {
    add_sums<float>(x, unit, sum, sq_norm);
  }
  if (gram.defined()) tiled_gram_(gram, x, unit * unit);
}

[[noreturn]] void report_non_finite(const torch::Tensor& x, const ActivationSource& source) {
  const auto bad = at::isfinite(x).logical_not().nonzero()[0];
  const int64_t row = bad[0].item<int64_t>(), column = bad[1].item<int64_t>();
  const int64_t length = source.sample_tokens > 0 ? source.sample_tokens : x.size(0);
  throw NumericalError(c10::str(
      "[InputStats] activations must be finite. Got ", x[row][column].item<float>(), " in ",
      source.layer.empty() ? std::string("an unnamed layer") : source.layer, ", sample ",
      source.first_sample + row / length, ", token ", row % length, ", input column ", column,
      ". Look at the layers before it, or load the model with dtype=\"float32\"."));
}

}  // namespace

InputStats::InputStats(int64_t columns, Needs needs) : columns_(columns), needs_(needs) {
  check(columns >= 1, "InputStats", "there is at least one column. Got ", columns, ".");
  if (includes(needs_, Needs::gram)) needs_ = needs_ | Needs::sum | Needs::sq_norm;
  const auto options = at::TensorOptions().dtype(at::kDouble);
  if (includes(needs_, Needs::sum)) sum_ = at::zeros({columns}, options);
  if (includes(needs_, Needs::sq_norm)) sq_norm_ = at::zeros({columns}, options);
  if (includes(needs_, Needs::gram)) {
    gram_ = large_zeros({columns, columns},
                        options.dtype(columns <= kNarrow ? at::kDouble : at::kFloat));
  }
}

void InputStats::rescale(int exponent) {
  const double factor = std::ldexp(1.0, exponent_ - exponent);
  if (sum_.defined()) sum_.mul_(factor);
  if (sq_norm_.defined()) sq_norm_.mul_(factor * factor);
  if (gram_.defined()) gram_.mul_(factor * factor);
  exponent_ = exponent;
}

void InputStats::move_to(const torch::Device& device) {
  device_ = device;
  for (auto* sums : {&sum_, &sq_norm_, &gram_}) {
    if (sums->defined()) *sums = sums->to(device);
  }
}

void InputStats::add(const torch::Tensor& input, int64_t sequences,
                     const ActivationSource& source) {
  const at::NoGradGuard no_grad;
  check(input.defined() && input.dim() >= 1 && input.size(-1) == columns_, "InputStats",
        "activations are [tokens, ", columns_, "]. Got ",
        input.defined() ? input.sizes() : at::IntArrayRef(), source.layer.empty() ? "" : " in ",
        source.layer, ".");
  check(at::isFloatingType(input.scalar_type()), "InputStats", "activations are floats. Got ",
        input.scalar_type(), ".");
  check(sequences >= 0, "InputStats", "sequences is at least 0. Got ", sequences, ".");
  const auto rows = input.detach().reshape({-1, columns_});
  sequences_ += sequences;
  if (rows.size(0) == 0) return;
  const double largest = largest_magnitude(rows);
  if (!std::isfinite(largest)) report_non_finite(rows, source);
  if (needs_ == Needs::none) {
    tokens_ += rows.size(0);
    return;
  }
  if (largest > 0) {
    const int exponent = std::ilogb(largest);
    if (empty_) exponent_ = exponent;
    empty_ = false;
    if (exponent > exponent_ + kHeadroom) rescale(exponent);
    largest_ = std::max(largest_, largest);
  }
  if (tokens_ == 0) move_to(rows.device());
  const double factor = std::ldexp(1.0, -exponent_);
  const bool on_cpu = rows.is_cpu() && device_.is_cpu();
  // 2^-k can exceed float32 for k near -149, so the product is formed in double there.
  const bool wide = rows.scalar_type() == at::kDouble || std::abs(exponent_) > 120;
  const bool plain =
      on_cpu && !wide && std::abs(exponent_) <= kPlain && largest < std::ldexp(1.0, 2 * kPlain);
  for (int64_t begin = 0; begin < rows.size(0); begin += kChunk) {
    // Contiguous, so that the strides of the caller's tensor choose no other kernel.
    const auto part = rows.slice(0, begin, std::min(begin + kChunk, rows.size(0))).contiguous();
    if (plain) {
      const bool half = part.scalar_type() == at::kHalf;
      add_values(half ? part.to(at::kFloat) : part, factor, sum_, sq_norm_, gram_);
      continue;
    }
    const auto x = (part.to(wide ? at::kDouble : at::kFloat) * factor).to(device_, at::kFloat);
    if (on_cpu) {
      add_values(x, 1.0, sum_, sq_norm_, gram_);
      continue;
    }
    if (sum_.defined()) sum_.add_(x.sum(0, false, at::kDouble));
    if (sq_norm_.defined()) sq_norm_.add_(x.to(at::kDouble).square_().sum(0));
    if (gram_.defined()) tiled_gram_(gram_, x);
  }
  tokens_ += rows.size(0);
}

void InputStats::merge(const InputStats& other) {
  check(columns_ == other.columns_ && needs_ == other.needs_, "InputStats",
        "statistics merge when columns and needs agree. Got ", columns_, " and ", other.columns_,
        " columns.");
  if (tokens_ == 0) move_to(other.device_);
  tokens_ += other.tokens_;
  sequences_ += other.sequences_;
  if (other.empty_) return;
  if (empty_) exponent_ = other.exponent_;
  empty_ = false;
  if (other.exponent_ > exponent_) rescale(other.exponent_);
  largest_ = std::max(largest_, other.largest_);
  const double factor = std::ldexp(1.0, other.exponent_ - exponent_);
  if (sum_.defined()) sum_.add_(other.sum_.to(device_), factor);
  if (sq_norm_.defined()) sq_norm_.add_(other.sq_norm_.to(device_), factor * factor);
  if (gram_.defined()) gram_.add_(other.gram_.to(device_), factor * factor);
}

double InputStats::scale() const {
  if (empty_ || (largest_ >= 0x1p-20 && largest_ <= 0x1p20)) return 1.0;
  return std::ldexp(1.0, exponent_);
}

double InputStats::accessor_factor() const { return std::ldexp(1.0, exponent_) / scale(); }

torch::Tensor InputStats::sum() const {
  check(sum_.defined(), "InputStats", "sum() was not collected; ask for Needs::sum.");
  return (sum_ * accessor_factor()).to(at::kFloat);
}

torch::Tensor InputStats::sq_norm() const {
  check(sq_norm_.defined(), "InputStats", "sq_norm() was not collected; ask for Needs::sq_norm.");
  const double factor = accessor_factor();
  return (sq_norm_ * (factor * factor)).to(at::kFloat);
}

torch::Tensor InputStats::gram() const {
  check(gram_.defined(), "InputStats", "gram() was not collected; ask for Needs::gram.");
  return whole_gram(gram_, accessor_factor()).to(at::kFloat);
}

std::pair<torch::Tensor, double> InputStats::upper_gram() const {
  check(gram_.defined(), "InputStats", "gram() was not collected; ask for Needs::gram.");
  const double factor = accessor_factor();
  return {gram_, factor * factor};
}

torch::Tensor InputStats::hessian() const {
  if (tokens_ == 0) {
    throw NumericalError("[InputStats] a Hessian needs tokens. Got 0; run calibration text first.");
  }
  return gram() * (2.0 / static_cast<double>(tokens_));
}

torch::Tensor InputStats::wide_hessian() const {
  if (!gram_.defined() || tokens_ == 0 || gram_.scalar_type() == at::kFloat) {
    return hessian().to(at::kDouble);
  }
  return whole_gram(gram_, accessor_factor()) * (2.0 / static_cast<double>(tokens_));
}

torch::Tensor InputStats::dead() const {
  check(sq_norm_.defined(), "InputStats", "dead() needs square norms; ask for Needs::sq_norm.");
  return sq_norm_ == 0;
}

int64_t InputStats::dead_columns() const {
  return tokens_ == 0 || !sq_norm_.defined() ? 0 : dead().sum().item<int64_t>();
}

}  // namespace cupel
