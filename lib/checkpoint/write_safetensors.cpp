#include <bit>
#include <set>

#include "checkpoint/safetensors_header.h"
#include "core/json.h"
#include "cupel/checkpoint/safetensors.h"
#include "cupel/core/check.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"

namespace cupel {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

namespace {

constexpr uint64_t kPrefix = 8;  // the length of the header, little-endian

std::string json_string(const std::string& text, const char* what) {
  check(first_invalid_utf8(text) == std::string_view::npos, "write_safetensors", what,
        " must be valid UTF-8. Got '", printable(text, 120), "'.");
  return dump_json(Json(text));
}

void check_writable(const std::string& name, const torch::Tensor& tensor) {
  const std::string shown = "'" + printable(name, 120) + "'";
  check(!name.empty() && name != "__metadata__", "write_safetensors",
        "a tensor name must be neither empty nor __metadata__. Got ", shown, ".");
  check(tensor.defined(), "write_safetensors", "a tensor must be defined. Got none for ", shown,
        ".");
  check(safetensors_dtype_name(tensor.scalar_type()) != nullptr, "write_safetensors",
        "the format lacks the dtype. Got ", tensor.scalar_type(), " for ", shown, ".");
  check(tensor.layout() == torch::kStrided && !tensor.is_meta(), "write_safetensors",
        "a tensor must be dense and hold data. Got layout ", tensor.layout(), " on ",
        tensor.device(), " for ", shown, ".");
}

}  // namespace

void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, torch::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::string header = "{", separator;
  const auto key = [&](const std::string& name, const char* what) {
    header += separator + json_string(name, what) + ":";
    separator = ",";
  };
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [name, value] : metadata) {
      key(name, "a metadata key");
      header += json_string(value, "a metadata value");
    }
    header += "}";
  }
  std::set<std::string> names;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    check_writable(name, tensor);
    check(names.insert(name).second, "write_safetensors", "tensor names are unique. Got '",
          printable(name, 120), "' a second time.");
    key(name, "a tensor name");
    const uint64_t bytes = checked_nbytes(tensor.sizes(), tensor.scalar_type(), path, name);
    header += c10::str("{\"dtype\":\"", safetensors_dtype_name(tensor.scalar_type()),
                       "\",\"shape\":[", c10::Join(",", tensor.sizes()), "],\"data_offsets\":[",
                       offset, ",", offset + bytes, "]}");
    offset += bytes;
  }
  header += "}";
  header.append((kPrefix - header.size() % kPrefix) % kPrefix, ' ');
  const uint64_t length = header.size();
  check(length <= SafetensorsLimits{}.header_bytes, "write_safetensors",
        "names and metadata must fit a header of ", SafetensorsLimits{}.header_bytes,
        " bytes. Got ", length, ".");

  AtomicFile file(path);
  file.write(&length, kPrefix);
  file.write(header);
  for (const auto& [name, tensor] : tensors) {
    // One tensor at a time, so that a model on another device never is here whole.
    const auto values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous();
    if (values.numel() > 0) file.write(values.data_ptr(), values.nbytes());
  }
  file.commit();
}

}  // namespace cupel
