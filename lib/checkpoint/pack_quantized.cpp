#include "checkpoint/pack_quantized.h"

#include <ATen/Functions.h>

#include "cupel/core/check.h"
#include "cupel/core/error.h"

namespace cupel {

namespace {

constexpr const char* kHere = "save_model";

int64_t middle(int64_t bits) { return int64_t{1} << (bits - 1); }

/// Columns in group 0: where the index leaves it for the first time.
int64_t first_group_columns(const torch::Tensor& group_index) {
  const auto others = group_index.ne(0).nonzero();
  return others.numel() == 0 ? group_index.size(0) : others[0][0].item<int64_t>();
}

/// Group size of columns that are grouped in order; 0 when one group holds them all.
int64_t group_size(const Quantized& quantized, const std::string& layer) {
  const auto index = quantized.group_index.cpu();
  const int64_t columns = index.size(0), groups = quantized.scales.size(1);
  const int64_t size = first_group_columns(index);
  const auto in_order = at::arange(columns, at::kInt).div(std::max<int64_t>(size, 1), "floor");
  check(size > 0 && index.equal(in_order.to(at::kInt)), kHere,
        "column j must lie in group j / group size, since the format has no other order of columns;"
        " compress with static_groups=true. Got another order in ",
        layer, ".");
  check(columns % size == 0, kHere, "a group must divide the columns. Got group ", size, " for ",
        quantized.codes.sizes(), " in ", layer, "; compress with a group that divides ", columns,
        ", or with group=0.");
  check(groups == columns / size, kHere, "every group must hold columns. Got ", groups,
        " scales a row for ", columns / size, " groups in ", layer, ".");
  return groups == 1 ? 0 : size;
}

std::string dtype_word(torch::Dtype dtype) {
  if (dtype == at::kBFloat16) return "bfloat16";
  return dtype == at::kHalf ? "float16" : "float32";
}

}  // namespace

PackScheme pack_scheme(const Quantized& quantized, torch::Dtype dtype, const std::string& layer) {
  const int64_t bits = quantized.bits;
  check(bits == 4 || bits == 8, kHere, "the format is written with 4 or 8 bits. Got ", bits, " in ",
        layer, "; compress with one of these, or save with format=\"dense\".");
  check(quantized.codes.numel() > 0, kHere, "a weight must not be empty. Got ",
        quantized.codes.sizes(), " in ", layer, ".");
  const auto& scales = quantized.scales;
  const auto exact = scales.to(at::kFloat);
  check(at::logical_and(exact > 0, at::isfinite(exact)).all().item<bool>(), kHere,
        "scales must be positive and finite. Got others in ", layer, ".");
  check(exact.to(dtype).to(at::kFloat).equal(exact), kHere,
        "the format keeps scales in the "
        "model's dtype, ",
        dtype_word(dtype), ", which would round those of ", layer,
        " and so change the weights; compress with scale_dtype=\"", dtype_word(dtype), "\".");
  const int64_t low = quantized.zeros.min().item<int64_t>();
  const int64_t high = quantized.zeros.max().item<int64_t>();
  check(low >= 0 && high < 2 * middle(bits), kHere, "zero points lie in [0, ", 2 * middle(bits),
        "). Got values from ", low, " to ", high, " in ", layer, ".");
  return {bits, group_size(quantized, layer), low == middle(bits) && high == middle(bits)};
}

std::vector<TensorInfo> packed_tensors(const PackScheme& scheme, const std::string& layer,
                                       int64_t out, int64_t in, torch::Dtype dtype) {
  const int64_t groups = scheme.groups(in);
  std::vector<TensorInfo> tensors{
      {layer + ".weight_packed", at::kInt, {out, packed_words(in, scheme.bits)}},
      {layer + ".weight_scale", dtype, {out, groups}},
      {layer + ".weight_shape", at::kLong, {2}}};
  if (!scheme.symmetric) {
    tensors.push_back(
        {layer + ".weight_zero_point", at::kInt, {packed_words(out, scheme.bits), groups}});
  }
  return tensors;
}

std::vector<std::pair<std::string, torch::Tensor>> pack_weight(const PackScheme& scheme,
                                                               const std::string& layer,
                                                               const Quantized& quantized,
                                                               torch::Dtype dtype) {
  std::vector<std::pair<std::string, torch::Tensor>> tensors{
      {layer + ".weight_packed", pack_bits(quantized.codes, scheme.bits)},
      {layer + ".weight_scale", quantized.scales.to(dtype).cpu()},
      {layer + ".weight_shape", at::tensor(quantized.codes.sizes(), at::kLong)}};
  if (!scheme.symmetric) {
    tensors.emplace_back(layer + ".weight_zero_point",
                         pack_bits(quantized.zeros.to(at::kByte), scheme.bits, 0));
  }
  return tensors;
}

Quantized read_packed(const CheckpointReader& reader, const PackScheme& scheme,
                      const std::string& layer, int64_t out, int64_t in) {
  const auto unpack = [&](const std::string& name, int64_t count, int64_t dim) {
    try {
      return unpack_bits(reader.read(name), scheme.bits, count, dim);
    } catch (const std::invalid_argument& error) {
      throw FormatError(reader.dir(), name, error.what());
    }
  };
  Quantized quantized;
  quantized.bits = scheme.bits;
  quantized.codes = unpack(layer + ".weight_packed", in, 1);
  quantized.scales = reader.read(layer + ".weight_scale").to(at::kFloat);
  if (!at::logical_and(quantized.scales > 0, at::isfinite(quantized.scales)).all().item<bool>()) {
    throw FormatError(reader.dir(), layer + ".weight_scale", "scales must be positive and finite.");
  }
  quantized.zeros = scheme.symmetric
                        ? at::full(quantized.scales.sizes(), middle(scheme.bits), at::kInt)
                        : unpack(layer + ".weight_zero_point", out, 0).to(at::kInt);
  const int64_t size = scheme.group == 0 ? std::max<int64_t>(in, 1) : scheme.group;
  quantized.group_index = at::arange(in, at::kInt).div(size, "floor").to(at::kInt);
  return quantized;
}

void check_weight_shape(const CheckpointReader& reader, const std::string& layer, int64_t out,
                        int64_t in) {
  const std::string name = layer + ".weight_shape";
  const auto shape = reader.read(name);
  const int64_t rows = shape[0].item<int64_t>(), columns = shape[1].item<int64_t>();
  if (rows == out && columns == in) return;
  throw FormatError(
      reader.dir(), name,
      c10::str("the config asks for [", out, ", ", in, "]. Got [", rows, ", ", columns, "]."));
}

}  // namespace cupel
