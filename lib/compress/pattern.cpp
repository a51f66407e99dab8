#include "cupel/compress/pattern.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "compress/prune_rows.h"
#include "compress/select_lowest.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/parallel.h"

namespace cupel {

namespace {

void check_sparsity(const char* function, double sparsity) {
  check(sparsity >= 0 && sparsity <= 1, function, "sparsity is a fraction in [0, 1]. Got ",
        sparsity, ".");
}

std::string in_layer(const std::string& name) { return name.empty() ? "" : " in " + name; }

}  // namespace

Rules parse_rules(const std::string& name) {
  if (name == "exact") return Rules::exact;
  if (name == "published") return Rules::published;
  throw std::invalid_argument("[rules] rules are exact or published. Got '" + name + "'.");
}

std::string to_string(Rules rules) { return rules == Rules::exact ? "exact" : "published"; }

std::string to_string(Scope scope) {
  constexpr const char* names[] = {"automatic", "matrix", "row", "block"};
  return names[static_cast<int>(scope)];
}

std::string Pattern::to_string() const {
  if (is_n_of_m()) return c10::str(n, ":", m);
  std::string text = c10::str(sparsity * 100, "%");
  if (scope != Scope::automatic) text += " by " + cupel::to_string(scope);
  return text;
}

Pattern unstructured(double sparsity) {
  check_sparsity("unstructured", sparsity);
  return {.sparsity = sparsity};
}

Pattern matrix_wise(double sparsity) {
  check_sparsity("matrix_wise", sparsity);
  return {.sparsity = sparsity, .scope = Scope::matrix};
}

Pattern row_wise(double sparsity) {
  check_sparsity("row_wise", sparsity);
  return {.sparsity = sparsity, .scope = Scope::row};
}

Pattern n_of_m(int64_t n, int64_t m) {
  check(m >= 1 && n >= 0 && n <= m, "n_of_m",
        "n is kept of every m, so 0 <= n <= m (2:4 keeps two of four). Got ", n, ":", m, ".");
  return {.sparsity = 1.0 - static_cast<double>(n) / static_cast<double>(m), .n = n, .m = m};
}

Pattern parse_pattern(const std::string& text) {
  const char* end = text.data() + text.size();
  const std::size_t colon = text.find(':');
  if (colon != std::string::npos) {
    int64_t n = -1, m = -1;
    const auto first = std::from_chars(text.data(), text.data() + colon, n);
    const auto second = std::from_chars(text.data() + colon + 1, end, m);
    check(first.ec == std::errc() && first.ptr == text.data() + colon && second.ec == std::errc() &&
              second.ptr == end,
          "parse_pattern", "a pattern is n:m, such as 2:4. Got '", text, "'.");
    return n_of_m(n, m);
  }
  double sparsity = -1;
  const auto read = std::from_chars(text.data(), end, sparsity);
  check(read.ec == std::errc() && read.ptr == end, "parse_pattern",
        "a pattern is n:m, such as 2:4, or a fraction, such as 0.5. Got '", text, "'.");
  return unstructured(sparsity);
}

namespace {

// float32 on the CPU, without NaN.
torch::Tensor comparable(const torch::Tensor& scores, const std::string& name) {
  check(scores.defined() && scores.dim() == 2, "keep_mask", "scores are [out, in]. Got ",
        scores.defined() ? scores.sizes() : at::IntArrayRef(), in_layer(name), ".");
  auto values = scores.detach().to(at::kCPU, at::kFloat).contiguous();
  const int64_t nan = find_nan(values.const_data_ptr<float>(), values.numel());
  if (nan >= 0) refuse_nan_score(nan / scores.size(1), nan % scores.size(1), name);
  return values;
}

void check_counts(const std::vector<int64_t>& counts, int64_t columns, const std::string& name) {
  for (const int64_t count : counts) {
    check(count >= 0 && count <= columns, "keep_mask", "a row of ", columns,
          " weights can lose 0 to all of them. Got ", count, in_layer(name), ".");
  }
}

}  // namespace

std::vector<int64_t> split_among_rows(int64_t count, int64_t rows) {
  std::vector<int64_t> counts(rows);
  for (int64_t row = 0; row < rows; ++row) {
    counts[row] = count * (row + 1) / rows - count * row / rows;
  }
  return counts;
}

torch::Tensor keep_all_but(const torch::Tensor& scores, const std::vector<int64_t>& counts,
                           bool lower_first, const std::string& name) {
  const auto values = comparable(scores, name);
  const int64_t rows = scores.size(0), columns = scores.size(1);
  check(static_cast<int64_t>(counts.size()) == rows, "keep_mask", "there is one count a row. Got ",
        counts.size(), " for ", scores.sizes(), in_layer(name), ".");
  check_counts(counts, columns, name);
  auto mask = at::empty({rows, columns}, at::kBool);
  const float* from = values.const_data_ptr<float>();
  bool* keep = mask.mutable_data_ptr<bool>();
  if (rows == 1) {  // dealt out among the threads by itself
    keep_all_but_lowest(from, keep, columns, counts[0], lower_first);
    return mask.to(scores.device());
  }
  const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(columns, 1));
  parallel_for(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      keep_all_but_lowest(from + row * columns, keep + row * columns, columns, counts[row],
                          lower_first);
    }
  });
  return mask.to(scores.device());
}

void refuse_nan_score(int64_t row, int64_t column, const std::string& name) {
  throw NumericalError(c10::str("[keep_mask] scores must not be NaN. Got one at row ", row,
                                ", column ", column, in_layer(name),
                                "; look at what the criterion divides by."));
}

RowRule row_rule(const Pattern& pattern, at::IntArrayRef shape, Rules rules,
                 const std::string& name) {
  const int64_t rows = shape[0], columns = shape[1];
  RowRule rule;
  rule.lower_first = rules == Rules::published;
  if (pattern.is_n_of_m()) {
    check(columns % pattern.m == 0, "n_of_m", "columns must be a multiple of ", pattern.m,
          ". Got weight ", shape, in_layer(name), ".");
    check(pattern.count < 0, "n_of_m", "n:m fixes the count; it takes none. Got ", pattern.count,
          in_layer(name), ".");
    rule.n = pattern.n;
    rule.m = pattern.m;
    return rule;
  }
  const auto a_row = static_cast<int64_t>(pattern.sparsity * static_cast<double>(columns));
  rule.counts =
      pattern.count < 0 ? std::vector<int64_t>(rows, a_row) : split_among_rows(pattern.count, rows);
  check_counts(rule.counts, columns, name);
  return rule;
}

torch::Tensor keep_mask(const torch::Tensor& scores, const Pattern& pattern, Scope scope,
                        Rules rules, const std::string& name) {
  check(scores.defined() && scores.dim() == 2, "keep_mask", "scores are [out, in]. Got ",
        scores.defined() ? scores.sizes() : at::IntArrayRef(), in_layer(name), ".");
  const int64_t rows = scores.size(0), columns = scores.size(1);
  const bool published = rules == Rules::published;
  if (pattern.is_n_of_m()) {
    const RowRule rule = row_rule(pattern, scores.sizes(), rules, name);
    const auto values = comparable(scores, name);
    auto mask = at::empty({rows, columns}, at::kBool);
    keep_all_but_lowest_of_m(values.const_data_ptr<float>(), mask.mutable_data_ptr<bool>(),
                             rows * columns / rule.m, rule.m, rule.m - rule.n, rule.lower_first);
    return mask.to(scores.device());
  }
  const Scope used = pattern.scope == Scope::automatic ? scope : pattern.scope;
  check(used == Scope::matrix || used == Scope::row, "keep_mask",
        "scores are compared by matrix or by row. Got ", to_string(used), in_layer(name), ".");
  if (used == Scope::row) {
    const RowRule rule = row_rule(pattern, scores.sizes(), rules, name);
    return keep_all_but(scores, rule.counts, rule.lower_first, name);
  }
  const int64_t size = rows * columns;
  if (!published || pattern.count >= 0) {
    const auto count =
        pattern.count < 0 ? static_cast<int64_t>(pattern.sparsity * size) : pattern.count;
    return keep_all_but(scores.reshape({1, size}), {count}, false, name).view({rows, columns});
  }
  // The papers' magnitude rule: everything up to and including the score at index int(size * s) of
  // the sorted scores goes, which is one too many and takes all ties with it.
  const auto index = static_cast<int64_t>(static_cast<double>(size) * pattern.sparsity);
  check(index < size, "keep_mask",
        "the published matrix rule has no threshold at sparsity 1; use rules=\"exact\".");
  const auto values = comparable(scores, name);
  auto mask = at::empty({rows, columns}, at::kBool);
  keep_above_sorted(values.const_data_ptr<float>(), mask.mutable_data_ptr<bool>(), size, index);
  return mask.to(scores.device());
}

}  // namespace cupel
