#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace cupel {

/// Which weights are compared with each other when the worst are pruned.
enum class Scope { automatic, matrix, row, block };

/// "exact" prunes exactly the asked number; "published" reproduces the papers' code (see
/// docs/methods.md for each difference).
enum class Rules { exact, published };

Rules parse_rules(const std::string& name);  ///< std::invalid_argument for another word
std::string to_string(Scope scope);
std::string to_string(Rules rules);

/// Which weights are to go: a fraction of a comparison group, or all but n of every m.
struct Pattern {
  double sparsity = 0;             ///< fraction of zeros; of n:m, 1 - n / m
  int64_t n = 0, m = 0;            ///< n kept of every m; 0 = unstructured
  Scope scope = Scope::automatic;  ///< automatic = the criterion's own
  int64_t count = -1;              ///< exactly so many weights instead of `sparsity`; -1 = unset

  bool is_n_of_m() const { return m > 0; }
  std::string to_string() const;  ///< "50%", "50% by row", "2:4"
};

/// Prunes a fraction within the criterion's published comparison group.
Pattern unstructured(double sparsity);
Pattern matrix_wise(double sparsity);  ///< all weights of a matrix compared
Pattern row_wise(double sparsity);     ///< the weights of an output row compared
/// Keeps n of every m consecutive input columns. (The papers' prune_n counts zeros instead.)
Pattern n_of_m(int64_t n, int64_t m);
/// "2:4" -> n_of_m(2, 4), "0.5" -> unstructured(0.5).
Pattern parse_pattern(const std::string& text);

/// All but the `counts[row]` lowest scores of each row: [out, in] bool, true = keep, for scores
/// [out, in]; a whole matrix is compared as [1, out * in]. Of equal scores the higher column goes
/// first; with `lower_first`, the lower one.
torch::Tensor keep_all_but(const torch::Tensor& scores, const std::vector<int64_t>& counts,
                           bool lower_first = false, const std::string& name = "");

/// Splits `count` among `rows` rows as evenly as whole numbers allow; the sum is `count`.
std::vector<int64_t> split_among_rows(int64_t count, int64_t rows);

/// The weights to keep: [out, in] bool, true = keep, for scores [out, in] (larger = keep).
///
/// A group of g weights loses floor(sparsity * g) of them, the product in double; with
/// Pattern.count the matrix loses exactly that many (row scope: spread evenly). Ties keep the lower
/// column (matrix scope: the lower row-major index). `scope` is used when the pattern's own
/// is automatic. `name` is the layer, for messages. Throws std::invalid_argument when m does not
/// divide the columns, NumericalError on NaN scores.
torch::Tensor keep_mask(const torch::Tensor& scores, const Pattern& pattern,
                        Scope scope = Scope::row, Rules rules = Rules::exact,
                        const std::string& name = "");

}  // namespace cupel
