#include "cupel/checkpoint/safetensors.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string_view>

#include "checkpoint/safetensors_header.h"
#include "core/download_artefact.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"

namespace cupel {

namespace {

constexpr uint64_t kPrefix = 8;  // the length of the header, little-endian

/// The header's text, once its length is known to fit the file and the limit.
std::string read_header(const InputFile& file, const SafetensorsLimits& limits) {
  const auto fail = [&](const auto&... parts) {
    std::string head(std::min<uint64_t>(file.size(), kArtefactBytes), '\0');
    file.read(0, head.data(), head.size());
    std::string rule = download_artefact(head);
    if (rule.empty()) rule = c10::str(parts...);
    throw FormatError(file.path(), "header", rule);
  };
  if (file.size() < kPrefix) {
    fail("truncated: a safetensors file begins with 8 bytes of header length. Got ", file.size(),
         " bytes.");
  }
  uint64_t length = 0;
  file.read(0, &length, kPrefix);
  if (length > limits.header_bytes) {
    fail("the header length must be at most ", limits.header_bytes, " bytes. Got ", length, ".");
  }
  if (length > file.size() - kPrefix) {
    fail("truncated: the header length is ", length, " bytes, and only ", file.size() - kPrefix,
         " bytes follow it.");
  }
  char first = '\0';
  if (length > 0) file.read(kPrefix, &first, 1);
  if (first != '{') fail("the header must begin with '{'. Got length ", length, ".");
  std::string text(length, '\0');
  file.read(kPrefix, text.data(), length);
  return text;
}

/// Bytes other than 0 and 1 in a bool are undefined behaviour in whatever reads it next.
bool all_bools(const unsigned char* data, uint64_t bytes) {
  return std::all_of(data, data + bytes, [](unsigned char byte) { return byte <= 1; });
}

}  // namespace

uint64_t checked_nbytes(torch::IntArrayRef shape, torch::ScalarType dtype, const std::string& file,
                        const std::string& tensor) {
  // Zero dimensions count as one for the overflow rule: strides are products of the others.
  constexpr uint64_t limit = std::numeric_limits<int64_t>::max();
  uint64_t bytes = c10::elementSize(dtype);
  bool empty = false;
  for (const int64_t size : shape) {
    const bool negative = size < 0;
    if (negative || (size > 0 && bytes > limit / static_cast<uint64_t>(size))) {
      throw FormatError(file, "tensor " + quote_name(tensor),
                        c10::str(negative ? "shape has a negative dimension"
                                          : "the size of shape x dtype overflows 63 bits",
                                 ". Got [", c10::Join(", ", shape), "]."));
    }
    if (size == 0)
      empty = true;
    else
      bytes *= static_cast<uint64_t>(size);
  }
  return empty ? 0 : bytes;
}

struct SafetensorsFile::State {
  InputFile file;
  SafetensorsHeader header;
  std::vector<std::size_t> by_name;  // positions in header.tensors, sorted by name

  const TensorInfo* find(const std::string& name) const {
    const auto at = std::lower_bound(
        by_name.begin(), by_name.end(), name,
        [&](std::size_t i, const std::string& key) { return header.tensors[i].name < key; });
    if (at == by_name.end() || header.tensors[*at].name != name) return nullptr;
    return &header.tensors[*at];
  }
};

SafetensorsFile::SafetensorsFile(const std::string& path, const SafetensorsLimits& limits)
    : state_(new State{InputFile(path), {}, {}}) {
  const InputFile& file = state_->file;
  const uint64_t data_begin = [&] {
    const std::string text = read_header(file, limits);  // freed before the indices are built
    state_->header = parse_safetensors_header(text, path, limits);
    return kPrefix + text.size();
  }();
  auto& tensors = state_->header.tensors;
  std::vector<std::size_t>& order = state_->by_name;
  const auto before = [&](std::size_t a, std::size_t b) {
    return tensors[a].name < tensors[b].name;
  };
  order.resize(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), before);
  for (std::size_t i = 1; i < order.size(); ++i) {
    const std::string& name = tensors[order[i]].name;
    if (name == tensors[order[i - 1]].name)
      throw FormatError(path, "tensor " + quote_name(name), "duplicate tensor name.");
  }
  check_ranges(state_->header, data_begin, file.size(), path);
  // check_ranges puts the tensors into file order, where they mostly are already.
  if (!std::is_sorted(order.begin(), order.end(), before))
    std::sort(order.begin(), order.end(), before);
}

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

const std::string& SafetensorsFile::path() const { return state_->file.path(); }
const std::vector<TensorInfo>& SafetensorsFile::tensors() const { return state_->header.tensors; }
const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return state_->header.metadata;
}
bool SafetensorsFile::contains(const std::string& name) const {
  return state_->find(name) != nullptr;
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const TensorInfo* found = state_->find(name);
  if (found == nullptr)
    throw FormatError(path(), "", "the file has no tensor " + quote_name(name) + ".");
  return *found;
}

torch::Tensor SafetensorsFile::read(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  const auto where = [&] { return "tensor " + quote_name(name); };
  auto values = torch::empty(tensor.shape, torch::TensorOptions().dtype(tensor.dtype));
  const uint64_t bytes = tensor.end - tensor.begin;
  if (bytes == 0) return values;
  try {
    state_->file.read(tensor.begin, values.data_ptr(), bytes);
  } catch (const FormatError& error) {
    throw FormatError(path(), where() + " at " + error.where(), error.rule());
  }
  if (tensor.dtype == torch::kBool &&
      !all_bools(static_cast<const unsigned char*>(values.data_ptr()), bytes))
    throw FormatError(path(), where(), "the bytes of a BOOL tensor must be 0 or 1.");
  return values;
}

TensorMap read_safetensors(const std::string& path) {
  const SafetensorsFile file(path);
  TensorMap tensors;
  for (const TensorInfo& tensor : file.tensors()) tensors[tensor.name] = file.read(tensor.name);
  return tensors;
}

}  // namespace cupel
