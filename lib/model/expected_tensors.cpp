#include "model/expected_tensors.h"

#include "core/json.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "model/block_linear_names.h"
#include "model/pack_rules.h"

namespace cupel {

namespace {

// Puts the tensors of the packed layers of one block in the place of their weights.
void expect_packed(const Architecture& architecture, const ModelConfig& config, int64_t layer,
                   PackRules& rules, const std::string& place, ExpectedTensors& all) {
  for (const auto& name : block_linear_names(architecture, config, layer)) {
    const auto scheme = rules.scheme(name);
    if (!scheme) continue;
    const auto dense = all.tensors.extract(name + ".weight");
    check(!dense.empty(), "load_model",
          "the weight of a linear layer is called like it. Got none for ", name, ".");
    const int64_t out = dense.mapped().shape[0], in = dense.mapped().shape[1];
    if (scheme->group > 0 && in % scheme->group != 0) {
      throw FormatError(place, "quantization_config",
                        c10::str("group_size must divide the columns. Got ", scheme->group,
                                 " for [", out, ", ", in, "] in ", name, "."));
    }
    all.packed[name + ".weight"] = {*scheme, out, in};
    for (const auto& info : packed_tensors(*scheme, name, out, in, at::kFloat)) {
      ExpectedTensor& tensor = all.tensors[info.name];
      tensor.shape = info.shape;
      if (info.dtype != at::kFloat) tensor.dtype = info.dtype;
    }
  }
}

}  // namespace

ExpectedTensors expected_tensors(const ModelConfig& config, const Architecture& architecture,
                                 std::size_t present, const std::string& place) {
  ExpectedTensors all;
  all.tensors[architecture.embedding] = {{config.vocabulary, config.hidden}};
  all.tensors[architecture.final_norm] = {{config.hidden}};
  if (!config.tied_embeddings) {
    all.tensors[architecture.head] = {{config.vocabulary, config.hidden}};
  }
  std::optional<PackRules> rules;
  const Json json = parse_json(config.text, place);
  if (const auto found = json.find("quantization_config"); found != json.end()) {
    if (!found->is_null()) rules.emplace(parse_quantization_config(*found, place), place);
  }
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (auto& [name, shape] : architecture.block_shapes(config, layer)) {
      all.tensors[name].shape = shape;
    }
    if (rules) expect_packed(architecture, config, layer, *rules, place, all);
    // A config that claims far too many layers: what is missing is known by now.
    if (all.tensors.size() > 2 * present + 16) return all;
  }
  if (rules && rules->scheme(layer_of(architecture.head))) {
    throw FormatError(place, "quantization_config",
                      "the head, " + layer_of(architecture.head) +
                          ", must be in ignore: only linear layers "
                          "inside the blocks are read packed.");
  }
  if (rules) rules->check_all_used();
  return all;
}

}  // namespace cupel
