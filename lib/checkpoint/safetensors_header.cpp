// The header rules of the safetensors format, read more strictly than the reference reader does:
// duplicate names and keys, tensors given as arrays and absurd ranks are refused.
#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <optional>

#include "checkpoint/json_cursor.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace {

constexpr uint64_t kMaxDimension = std::numeric_limits<int64_t>::max();
constexpr std::size_t kMaxMetadata = 100'000;  // entries; each costs far more memory than text

struct DtypeName {
  const char* name;
  torch::ScalarType dtype;
};

constexpr DtypeName kDtypes[] = {
    {"F32", torch::kFloat32},
    {"BF16", torch::kBFloat16},
    {"F16", torch::kFloat16},
    {"F64", torch::kFloat64},
    {"I64", torch::kInt64},
    {"I32", torch::kInt32},
    {"I16", torch::kInt16},
    {"I8", torch::kInt8},
    {"U8", torch::kUInt8},
    {"U16", torch::kUInt16},
    {"U32", torch::kUInt32},
    {"U64", torch::kUInt64},
    {"BOOL", torch::kBool},
    {"F8_E4M3", torch::kFloat8_e4m3fn},
    {"F8_E5M2", torch::kFloat8_e5m2},
    {"F8_E8M0", torch::kFloat8_e8m0fnu},
    {"F8_E4M3FNUZ", torch::kFloat8_e4m3fnuz},
    {"F8_E5M2FNUZ", torch::kFloat8_e5m2fnuz},
    {"C64", torch::kComplexFloat},
};

class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& file, const SafetensorsLimits& limits)
      : cursor_(text, file), limits_(limits) {}

  SafetensorsHeader parse() {
    cursor_.expect('{', "the header");
    bool metadata_seen = false;
    std::deque<TensorInfo> tensors;  // a deque grows without holding everything twice
    if (!cursor_.accept('}')) {
      do {
        std::string name = cursor_.key();
        if (name == "__metadata__") {
          if (metadata_seen) cursor_.fail("duplicate key \"__metadata__\".");
          metadata_seen = true;
          parse_metadata();
        } else {
          if (name.empty()) cursor_.fail("a tensor name must not be empty.");
          tensors.push_back(parse_tensor(std::move(name)));
        }
      } while (cursor_.accept(','));
      cursor_.expect('}', "the header after an entry (',' or its end)");
    }
    cursor_.finish();
    header_.tensors.assign(std::make_move_iterator(tensors.begin()),
                           std::make_move_iterator(tensors.end()));
    return std::move(header_);
  }

 private:
  void parse_metadata() {
    cursor_.expect('{', "__metadata__, which must be an object of strings,");
    if (cursor_.accept('}')) return;
    do {
      std::string key = cursor_.key();
      std::string value = cursor_.string("a value of __metadata__");
      if (header_.metadata.size() == kMaxMetadata)
        cursor_.fail(c10::str("__metadata__ holds more than ", kMaxMetadata, " entries."));
      const auto [entry, added] = header_.metadata.emplace(std::move(key), std::move(value));
      if (!added) cursor_.fail("duplicate key " + quote_name(entry->first) + " in __metadata__.");
    } while (cursor_.accept(','));
    cursor_.expect('}', "__metadata__ after an entry (',' or its end)");
  }

  TensorInfo parse_tensor(std::string name) {
    cursor_.set_tensor(&name);
    TensorInfo tensor;
    std::optional<torch::ScalarType> dtype;
    bool shape = false, offsets = false;
    const auto once = [&](bool seen, const std::string& key) {
      if (seen) cursor_.fail(c10::str("duplicate key \"", key, "\"."));
    };
    cursor_.expect('{', "a tensor, which must be an object,");
    if (!cursor_.accept('}')) {
      do {
        const std::string key = cursor_.key();
        if (key == "dtype") {
          once(dtype.has_value(), key);
          dtype = parse_dtype();
        } else if (key == "shape") {
          once(shape, key);
          tensor.shape = parse_shape();
          shape = true;
        } else if (key == "data_offsets") {
          once(offsets, key);
          parse_offsets(tensor);
          offsets = true;
        } else {
          cursor_.fail(c10::str("unknown key ", quote_name(key),
                                "; a tensor has exactly dtype, shape and data_offsets."));
        }
      } while (cursor_.accept(','));
      cursor_.expect('}', "a tensor after an entry (',' or its end)");
    }
    if (!dtype || !shape || !offsets) {
      const char* missing = !dtype ? "dtype" : !shape ? "shape" : "data_offsets";
      cursor_.fail(c10::str("the tensor lacks the key \"", missing, "\"."));
    }
    cursor_.set_tensor(nullptr);
    tensor.dtype = *dtype;
    tensor.name = std::move(name);
    return tensor;
  }

  torch::ScalarType parse_dtype() {
    const std::string name = cursor_.string("dtype");
    for (const DtypeName& known : kDtypes) {
      if (name == known.name) return known.dtype;
    }
    cursor_.fail(c10::str("dtype ", quote_name(name),
                          name == "F4" || name.starts_with("F6_")
                              ? " is narrower than a byte and not supported."
                              : " is not supported: it is not a safetensors dtype."));
  }

  std::vector<int64_t> parse_shape() {
    std::vector<int64_t> shape;
    cursor_.expect('[', "shape, which must be a list of integers,");
    if (cursor_.accept(']')) return shape;
    do {
      if (static_cast<int64_t>(shape.size()) == limits_.rank)
        cursor_.fail(c10::str("shape has more than ", limits_.rank, " dimensions (rank)."));
      shape.push_back(static_cast<int64_t>(cursor_.integer("a dimension of shape", kMaxDimension)));
    } while (cursor_.accept(','));
    cursor_.expect(']', "shape after an integer (',' or its end)");
    return shape;
  }

  void parse_offsets(TensorInfo& tensor) {
    constexpr const char* what = "a number of data_offsets";
    constexpr const char* pair = "data_offsets, which must be two integers,";
    cursor_.expect('[', pair);
    tensor.begin = cursor_.integer(what, kMaxDimension);
    cursor_.expect(',', pair);
    tensor.end = cursor_.integer(what, kMaxDimension);
    cursor_.expect(']', pair);
  }

  JsonCursor cursor_;
  const SafetensorsLimits& limits_;
  SafetensorsHeader header_;
};

}  // namespace

std::string quote_name(const std::string& name) { return "\"" + printable(name, 120) + "\""; }

const char* safetensors_dtype_name(torch::ScalarType dtype) {
  for (const DtypeName& known : kDtypes) {
    if (known.dtype == dtype) return known.name;
  }
  return nullptr;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& file,
                                           const SafetensorsLimits& limits) {
  if (const auto bad = first_invalid_utf8(text); bad != std::string_view::npos)
    throw FormatError(file, c10::str("header byte ", bad), "the header is not valid UTF-8.");
  return HeaderParser(text, file, limits).parse();
}

void check_ranges(SafetensorsHeader& header, uint64_t data_begin, uint64_t file_bytes,
                  const std::string& file) {
  const uint64_t data_bytes = file_bytes - data_begin;
  for (const TensorInfo& tensor : header.tensors) {
    const auto fail = [&](const auto&... parts) {
      throw FormatError(file, "tensor " + quote_name(tensor.name), c10::str(parts..., "."));
    };
    if (tensor.end < tensor.begin)
      fail("data_offsets end before they begin. Got [", tensor.begin, ", ", tensor.end, "]");
    if (tensor.end > data_bytes) {
      fail("truncated: data_offsets [", tensor.begin, ", ", tensor.end, "] reach past the end of ",
           "the file, which holds ", data_bytes, " bytes of data");
    }
    const uint64_t bytes = checked_nbytes(tensor.shape, tensor.dtype, file, tensor.name);
    if (tensor.end - tensor.begin != bytes) {
      fail("data_offsets [", tensor.begin, ", ", tensor.end, "] must span exactly the size of ",
           "shape x dtype, ", bytes, " bytes");
    }
  }
  const auto before = [](const TensorInfo& a, const TensorInfo& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  };
  if (!std::is_sorted(header.tensors.begin(), header.tensors.end(), before))
    std::stable_sort(header.tensors.begin(), header.tensors.end(), before);
  uint64_t expected = 0;
  for (TensorInfo& tensor : header.tensors) {
    if (tensor.begin != expected) {
      throw FormatError(
          file, "tensor " + quote_name(tensor.name),
          c10::str(tensor.begin < expected ? "data overlap with another tensor"
                                           : "data leave a hole before this tensor",
                   ": data_offsets must begin at ", expected, ". Got ", tensor.begin, "."));
    }
    expected = tensor.end;
    tensor.begin += data_begin;
    tensor.end += data_begin;
  }
  if (expected != data_bytes) {
    throw FormatError(file, c10::str("byte ", data_begin + expected),
                      c10::str("trailing bytes: ", data_bytes - expected,
                               " bytes after the last tensor belong to none."));
  }
}

}  // namespace cupel
