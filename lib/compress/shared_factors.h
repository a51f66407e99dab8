#pragma once

#include <torch/types.h>

#include <functional>
#include <optional>
#include <utility>

#include "compress/hessian_factor.h"

namespace cupel {

/// A Hessian and its factor, the latter in sweep order.
struct FactoredHessian {
  Hessian hessian;      ///< in the order of the matrix
  torch::Tensor order;  ///< [in] int64; undefined = as the columns are
  HessianFactor factor;
};

/// The last factor that was made, for layers that have the very same statistics, such as q, k and v: it
/// does not depend on the weights. For one thread at a time.
class SharedFactors {
 public:
  const FactoredHessian& get(const InputStats& stats, double damping, Rules rules,
                             bool by_activation, const torch::Device& device,
                             const std::function<FactoredHessian()>& make) {
    Key key{stats.upper_gram().first, stats.tokens(), damping, rules, by_activation, device};
    if (!made_ || !(key == key_)) {
      made_.reset();  // its memory first
      made_ = make();
      key_ = std::move(key);
    }
    return *made_;
  }

 private:
  struct Key {
    torch::Tensor sums;  // held, so that no other statistics get the same address
    int64_t tokens = 0;
    double damping = 0;
    Rules rules = Rules::exact;
    bool by_activation = false;
    torch::Device device = at::kCPU;
    bool operator==(const Key& other) const {
      return sums.is_same(other.sums) && tokens == other.tokens && damping == other.damping &&
             rules == other.rules && by_activation == other.by_activation && device == other.device;
    }
  };
  Key key_;
  std::optional<FactoredHessian> made_;
};

}  // namespace cupel
