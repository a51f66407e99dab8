#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cupel {

/// Tensors by name, in a fixed order.
using TensorMap = std::map<std::string, torch::Tensor>;

/// Bytes of a tensor of `shape` and `dtype`; the one place where sizes of files are multiplied.
/// FormatError naming `file` and `tensor` when a dimension is negative or the product overflows.
uint64_t checked_nbytes(torch::IntArrayRef shape, torch::ScalarType dtype, const std::string& file,
                        const std::string& tensor);

/// One tensor of a .safetensors file, as its header states it (and as it was checked).
struct TensorInfo {
  std::string name;
  torch::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  ///< bytes, counted from the start of the file
};

/// Limits on what a header may ask for.
struct SafetensorsLimits {
  uint64_t header_bytes = 100'000'000;  ///< inclusive
  int64_t rank = 64;
};

/// A checked .safetensors file, read one tensor at a time with pread into owned memory.
///
/// The constructor checks the whole header before anything is allocated by a size the file claims:
/// strict JSON without duplicate keys, known dtypes, data ranges that are contiguous, complete and
/// exactly as long as shape x dtype. Throws FormatError (file, tensor, rule).
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path, const SafetensorsLimits& limits = {});
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  const std::string& path() const;
  const std::vector<TensorInfo>& tensors() const;              ///< in file order
  const std::map<std::string, std::string>& metadata() const;  ///< "__metadata__", may be empty
  bool contains(const std::string& name) const;
  const TensorInfo& info(const std::string& name) const;  ///< FormatError when absent
  torch::Tensor read(const std::string& name) const;      ///< new CPU memory

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Every tensor of one file.
TensorMap read_safetensors(const std::string& path);

/// Writes one .safetensors file atomically, tensor by tensor in any order: names, dtypes and shapes
/// are known at the start (or, growing, their bounds), the values come later. Without commit()
/// nothing is left.
class SafetensorsWriter {
 public:
  /// `tensors` give name, dtype and shape (begin and end are ignored), in file order.
  /// std::invalid_argument for a dtype that the format lacks, a duplicate or empty name, or the
  /// name "__metadata__".
  SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {});
  /// A file that holds whichever of `largest` are written, in the order of writing, in sizes of at
  /// most their shapes. The header stands first and is written last: room is kept for all of them,
  /// and spaces fill what is not used.
  static SafetensorsWriter growing(const std::string& path, std::vector<TensorInfo> largest,
                                   const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();
  SafetensorsWriter(SafetensorsWriter&&) noexcept;

  /// Writes the values of `name`, once; std::invalid_argument for another dtype or shape.
  /// Non-contiguous and non-CPU tensors are copied. Returns the SHA-256 of the bytes.
  std::string write(const std::string& name, const torch::Tensor& tensor);
  /// Makes the file visible; std::invalid_argument while a tensor is missing.
  void commit();

 private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Writes one .safetensors file atomically. `tensors` in the order given; non-contiguous and
/// non-CPU tensors are copied. std::invalid_argument for a dtype that the format lacks, an
/// undefined tensor, a duplicate name, or the name "__metadata__".
void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, torch::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace cupel
