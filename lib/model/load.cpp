#include <ATen/Functions.h>
#include <torch/types.h>

#include <set>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/model/model.h"
#include "model/expected_tensors.h"

namespace cupel {

namespace {

bool is_supported(torch::Dtype dtype) {
  return dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf;
}

torch::Dtype parse_dtype(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float16") return at::kHalf;
  throw std::invalid_argument("[load_model] dtype is auto, float32, bfloat16 or float16. Got '" +
                              name + "'.");
}

// Buffers that old checkpoints carry and the config already determines.
bool is_known_extra(const std::string& name, const ModelConfig& config,
                    const Architecture& architecture) {
  const std::string suffix = "rotary_emb.inv_freq";
  const bool rotary = name.size() >= suffix.size() &&
                      name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
  return rotary || (config.tied_embeddings && name == architecture.head);
}

std::string list(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < 10; ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > 10) text += ", and " + std::to_string(names.size() - 10) + " more";
  return text;
}

// Compares names, shapes and dtypes with what the config asks for, before any weight is read.
template <typename Info>
void check_tensors(const ModelConfig& config, const Architecture& architecture,
                   const std::map<std::string, ExpectedTensor>& expected, const std::string& place,
                   const std::vector<std::string>& present, const Info& info) {
  const std::set<std::string> names(present.begin(), present.end());
  std::vector<std::string> missing, unexpected;
  for (const auto& [name, tensor] : expected) {
    if (!names.count(name)) missing.push_back(name);
  }
  if (!missing.empty()) {
    throw FormatError(place, missing.front(),
                      c10::str("the config asks for ", missing.size(),
                               " tensors that the checkpoint lacks: ", list(missing), "."));
  }
  for (const auto& name : present) {
    if (!expected.count(name) && !is_known_extra(name, config, architecture)) {
      unexpected.push_back(name);
    }
  }
  if (!unexpected.empty()) {
    throw FormatError(
        place, unexpected.front(),
        c10::str("the checkpoint holds ", unexpected.size(),
                 " tensors that the config does not ask for: ", list(unexpected), "."));
  }
  for (const auto& [name, tensor] : expected) {
    const std::pair<torch::Dtype, std::vector<int64_t>> found = info(name);
    if (found.second != tensor.shape) {
      throw FormatError(place, name,
                        c10::str("the config asks for shape ", torch::IntArrayRef(tensor.shape),
                                 ". Got ", torch::IntArrayRef(found.second), "."));
    }
    if (tensor.dtype ? found.first != *tensor.dtype : !is_supported(found.first)) {
      throw FormatError(
          place, name,
          tensor.dtype
              ? c10::str("must be ", *tensor.dtype, ". Got ", found.first, ".")
              : c10::str("weights are float32, bfloat16 or float16. Got ", found.first, "."));
    }
  }
}

}  // namespace

std::unique_ptr<Model> load_model(const std::string& dir, const LoadOptions& options) {
  const bool keep_dtype = options.dtype == "auto";
  if (!keep_dtype) parse_dtype(options.dtype);  // a wrong word before a long read
  const auto reader = std::make_shared<const CheckpointReader>(dir);
  const std::string place = dir + "/config.json";
  const ModelConfig config = parse_model_config(reader->config_text(), place);
  Architecture architecture;
  try {
    architecture = architectures().get(config.architecture);
  } catch (const std::invalid_argument& error) {
    throw FormatError(place, "architectures", error.what());
  }
  const auto expected = expected_tensors(config, architecture, reader->names().size(), place);
  check_tensors(config, architecture, expected.tensors, dir, reader->names(),
                [&](const std::string& name) {
                  return std::pair(reader->info(name).dtype, reader->info(name).shape);
                });
  const torch::Dtype dtype =
      keep_dtype ? reader->info(architecture.embedding).dtype : parse_dtype(options.dtype);
  const torch::Device device(options.device);
  // "auto" computes in the embedding's dtype; a checkpoint that mixes dtypes must be asked for one.
  for (const auto& [name, tensor] : expected.tensors) {
    if (!keep_dtype || tensor.dtype || reader->info(name).dtype == dtype) continue;
    throw FormatError(dir, name,
                      c10::str("the checkpoint mixes dtypes (", reader->info(name).dtype, " here, ",
                               dtype, " elsewhere); load it with dtype=\"float32\"."));
  }
  for (const auto& [weight, linear] : expected.packed) {
    check_weight_shape(*reader, layer_of(weight), linear.out, linear.in);
  }
  const WeightSource weights = [=, packed = expected.packed](const std::string& name,
                                                             torch::IntArrayRef shape) {
    if (packed.count(name)) return at::empty(shape, at::TensorOptions(dtype).device(device));
    return reader->read(name).to(device, dtype);
  };
  if (!expected.packed.empty()) {
    architecture = read_packed_blocks(architecture, reader, expected.packed, dtype, device);
  }
  auto model = std::make_unique<Model>(config, architecture, weights, dtype, device, options.lazy);
  model->set_source(reader);
  return model;
}

std::unique_ptr<Model> make_model(const std::string& config_text, const TensorMap& state_dict) {
  const ModelConfig config = parse_model_config(config_text, "config");
  const Architecture architecture = architectures().get(config.architecture);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state_dict) names.push_back(name);
  const auto expected = expected_tensors(config, architecture, names.size(), "config");
  if (!expected.packed.empty()) {
    throw FormatError("config", "quantization_config",
                      "a state dict holds dense weights; leave this field out.");
  }
  check_tensors(config, architecture, expected.tensors, "state_dict", names,
                [&](const std::string& name) {
                  const torch::Tensor& tensor = state_dict.at(name);
                  return std::pair(tensor.scalar_type(), tensor.sizes().vec());
                });
  const torch::Tensor& embedding = state_dict.at(architecture.embedding);
  const torch::Dtype dtype = embedding.scalar_type();
  const auto device = embedding.device();
  const WeightSource weights = [state_dict, dtype, device](const std::string& name,
                                                           torch::IntArrayRef) {
    return state_dict.at(name).detach().to(device, dtype).contiguous();
  };
  return std::make_unique<Model>(config, architecture, weights, dtype, device, false);
}

}  // namespace cupel
