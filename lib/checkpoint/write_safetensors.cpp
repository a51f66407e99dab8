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
constexpr const char* kHere = "write_safetensors";

std::string json_string(const std::string& text, const char* what) {
  check(first_invalid_utf8(text) == std::string_view::npos, kHere, what,
        " must be valid UTF-8. Got '", printable(text, 120), "'.");
  return dump_json(Json(text));
}

void check_info(const TensorInfo& info) {
  check(!info.name.empty() && info.name != "__metadata__", kHere,
        "a tensor name must be neither empty nor __metadata__. Got ", quote_name(info.name), ".");
  check(safetensors_dtype_name(info.dtype) != nullptr, kHere, "the format lacks the dtype. Got ",
        info.dtype, " for ", quote_name(info.name), ".");
}

// The header's JSON; begin and end of `tensors` become offsets from the first data byte.
std::string header_text(const std::string& path, std::vector<TensorInfo>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::string header = "{", separator;
  const auto key = [&](const std::string& name, const char* what) {
    header += separator + json_string(name, what) + ":";
    separator = ",";
  };
  if (!metadata.empty()) {
    std::string inner;
    for (const auto& [name, value] : metadata) {
      inner += (inner.empty() ? "" : ",") + json_string(name, "a metadata key") + ":" +
               json_string(value, "a metadata value");
    }
    header += "\"__metadata__\":{" + inner + "}";
    separator = ",";
  }
  std::set<std::string> names;
  uint64_t offset = 0;
  for (auto& info : tensors) {
    check_info(info);
    check(names.insert(info.name).second, kHere, "tensor names are unique. Got ",
          quote_name(info.name), " a second time.");
    key(info.name, "a tensor name");
    info.begin = offset;
    info.end = offset + checked_nbytes(info.shape, info.dtype, path, info.name);
    header += c10::str("{\"dtype\":\"", safetensors_dtype_name(info.dtype), "\",\"shape\":[",
                       c10::Join(",", info.shape), "],\"data_offsets\":[", info.begin, ",",
                       info.end, "]}");
    offset = info.end;
  }
  header += "}";
  header.append((kPrefix - header.size() % kPrefix) % kPrefix, ' ');
  check(header.size() <= SafetensorsLimits{}.header_bytes, kHere,
        "names and metadata must fit a header of ", SafetensorsLimits{}.header_bytes,
        " bytes. Got ", header.size(), ".");
  return header;
}

// A header of the same tensors, or some of them, in smaller sizes is not longer.
bool at_most(torch::IntArrayRef shape, torch::IntArrayRef largest) {
  bool smaller = shape.size() == largest.size();
  for (std::size_t i = 0; smaller && i < shape.size(); ++i) smaller = shape[i] <= largest[i];
  return smaller;
}

}  // namespace

struct SafetensorsWriter::State {
  AtomicFile file;
  std::string path;
  std::map<std::string, std::string> metadata;
  std::map<std::string, TensorInfo> missing;  // when growing: what may come, at its largest
  uint64_t data_begin = 0;
  bool growing = false;
  std::vector<TensorInfo> written = {};  // when growing

  void write_header(std::string header) {
    header.resize(data_begin - kPrefix, ' ');
    const uint64_t length = header.size();
    file.write_at(0, &length, kPrefix);
    file.write_at(kPrefix, header.data(), length);
  }
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors,
                                     const std::map<std::string, std::string>& metadata) {
  const std::string header = header_text(path, tensors, metadata);
  state_.reset(new State{AtomicFile(path), path, metadata, {}, kPrefix + header.size()});
  for (auto& info : tensors) state_->missing.emplace(info.name, info);
  state_->write_header(header);
}

SafetensorsWriter SafetensorsWriter::growing(const std::string& path,
                                             std::vector<TensorInfo> largest,
                                             const std::map<std::string, std::string>& metadata) {
  const uint64_t room = header_text(path, largest, metadata).size();
  std::unique_ptr<State> state(
      new State{AtomicFile(path), path, metadata, {}, kPrefix + room, true});
  for (auto& info : largest) state->missing.emplace(info.name, info);
  return SafetensorsWriter(std::move(state));
}

SafetensorsWriter::~SafetensorsWriter() = default;
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter&&) noexcept = default;

std::string SafetensorsWriter::write(const std::string& name, const torch::Tensor& tensor) {
  const auto found = state_->missing.find(name);
  check(found != state_->missing.end(), kHere,
        "a tensor is announced at the start and written once. Got ", quote_name(name), ".");
  check(tensor.defined(), kHere, "a tensor must be defined. Got none for ", quote_name(name), ".");
  check(tensor.layout() == torch::kStrided && !tensor.is_meta(), kHere,
        "a tensor must be dense and hold data. Got layout ", tensor.layout(), " on ",
        tensor.device(), " for ", quote_name(name), ".");
  TensorInfo& info = found->second;
  const bool fits = state_->growing ? at_most(tensor.sizes(), info.shape)
                                    : tensor.sizes() == torch::IntArrayRef(info.shape);
  check(tensor.scalar_type() == info.dtype && fits, kHere,
        "a tensor keeps the dtype and shape announced, ", info.dtype, " ",
        torch::IntArrayRef(info.shape), ". Got ", tensor.scalar_type(), " ", tensor.sizes(),
        " for ", quote_name(name), ".");
  if (state_->growing) {
    info.shape = tensor.sizes().vec();
    info.begin = state_->written.empty() ? 0 : state_->written.back().end;
    info.end = info.begin + checked_nbytes(info.shape, info.dtype, state_->path, name);
    state_->written.push_back(info);
  }
  const auto values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous();
  Sha256 hash;
  if (values.numel() > 0) {
    state_->file.write_at(state_->data_begin + info.begin, values.const_data_ptr(),
                          info.end - info.begin);
    hash.update(values.const_data_ptr(), info.end - info.begin);
  }
  state_->missing.erase(found);
  return hash.hex();
}

void SafetensorsWriter::commit() {
  if (state_->growing) {
    state_->write_header(header_text(state_->path, state_->written, state_->metadata));
    state_->missing.clear();
  }
  check(state_->missing.empty(), kHere,
        "every announced tensor is written before commit(). Got none for ",
        state_->missing.empty() ? "" : quote_name(state_->missing.begin()->first), ".");
  state_->file.commit();
}

void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, torch::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorInfo> infos;
  for (const auto& [name, tensor] : tensors) {
    check(tensor.defined(), kHere, "a tensor must be defined. Got none for ", quote_name(name),
          ".");
    check(tensor.layout() == torch::kStrided, kHere, "a tensor must be dense. Got layout ",
          tensor.layout(), " for ", quote_name(name), ".");
    infos.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, std::move(infos), metadata);
  // One tensor at a time, so that a model on another device never is here whole.
  for (const auto& [name, tensor] : tensors) writer.write(name, tensor);
  writer.commit();
}

}  // namespace cupel
