#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cupel/checkpoint/safetensors.h"

namespace cupel {

/// What the header of a .safetensors file states.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in file order
  std::map<std::string, std::string> metadata;
};

/// The format's name of `dtype`; nullptr when it has none.
const char* safetensors_dtype_name(torch::ScalarType dtype);

/// A name from a file, between quotation marks, cut and escaped for a message.
std::string quote_name(const std::string& name);

/// Parses the header's JSON: syntax, schema, names. `begin` and `end` of the tensors are still as
/// written, counted from the first data byte; check_ranges() makes them positions in the file.
SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file,
                                           const SafetensorsLimits& limits);

/// Checks that the tensors fill [data_begin, file_bytes) without hole or overlap, each exactly as
/// long as its shape and dtype say; sorts them into file order.
void check_ranges(SafetensorsHeader& header, uint64_t data_begin, uint64_t file_bytes,
                  const std::string& file);

}  // namespace cupel
