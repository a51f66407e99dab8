#include "checkpoint/pack_quantized.h"

#include "support/catch.h"

#include <limits>

#include "support/format_error.h"
#include "support/temporary_folder.h"

namespace cupel::test {

namespace {

/// Two rows of four columns in two groups, 4 bits.
Quantized small() {
  Quantized q;
  q.codes = torch::tensor({{0, 1, 2, 3}, {15, 14, 13, 12}}).to(torch::kUInt8);
  q.scales = torch::tensor({{0.5f, 2.0f}, {0.25f, 1.0f}});
  q.zeros = torch::tensor({{1, 3}, {4, 15}}).to(torch::kInt32);
  q.group_index = torch::tensor({0, 0, 1, 1}).to(torch::kInt32);
  q.bits = 4;
  return q;
}

/// A checkpoint folder that holds these tensors and nothing of a model.
CheckpointReader reader_of(const TemporaryFolder& folder,
                           const std::vector<std::pair<std::string, torch::Tensor>>& tensors) {
  folder.write("config.json", "{}");
  write_safetensors(folder.file("model.safetensors"), tensors);
  return CheckpointReader(folder.path());
}

}  // namespace

TEST_CASE("pack_weight: tensors worked out by hand", "[checkpoint]") {
  const PackScheme scheme = pack_scheme(small(), torch::kFloat32, "x");
  CHECK(scheme == PackScheme{4, 2, false});
  const auto tensors = pack_weight(scheme, "x", small(), torch::kBFloat16);
  REQUIRE(tensors.size() == 4);
  CHECK(tensors[0].first == "x.weight_packed");
  CHECK(tensors[0].second.equal(torch::tensor({{0x3210}, {0xCDEF}}).to(torch::kInt32)));
  CHECK(tensors[1].first == "x.weight_scale");
  CHECK(tensors[1].second.equal(small().scales.to(torch::kBFloat16)));
  CHECK(tensors[2].first == "x.weight_shape");
  CHECK(tensors[2].second.equal(torch::tensor({2, 4})));
  CHECK(tensors[3].first == "x.weight_zero_point");  // one word holds the outputs of a group
  CHECK(tensors[3].second.equal(torch::tensor({{0x41, 0xF3}}).to(torch::kInt32)));
  const auto infos = packed_tensors(scheme, "x", 2, 4, torch::kBFloat16);
  REQUIRE(infos.size() == tensors.size());
  for (std::size_t i = 0; i < infos.size(); ++i) {
    CHECK(infos[i].name == tensors[i].first);
    CHECK(infos[i].dtype == tensors[i].second.scalar_type());
    CHECK(torch::IntArrayRef(infos[i].shape) == tensors[i].second.sizes());
  }
}

TEST_CASE("pack_scheme: symmetric when every zero is in the middle, one group is the row",
          "[checkpoint]") {
  Quantized q = small();
  q.zeros = torch::full({2, 2}, 8, torch::kInt32);
  CHECK(pack_scheme(q, torch::kFloat32, "x") == PackScheme{4, 2, true});
  CHECK(packed_tensors({4, 2, true}, "x", 2, 4, torch::kFloat32).size() == 3);
  q.zeros[1][1] = 7;
  CHECK(pack_scheme(q, torch::kFloat32, "x") == PackScheme{4, 2, false});
  q.scales = q.scales.slice(1, 0, 1);
  q.zeros = torch::full({2, 1}, 8, torch::kInt32);
  q.group_index = torch::zeros({4}, torch::kInt32);
  CHECK(pack_scheme(q, torch::kFloat32, "x") == PackScheme{4, 0, true});
}

TEST_CASE("read_packed: gives back what pack_weight made", "[checkpoint]") {
  const TemporaryFolder folder;
  for (const bool symmetric : {false, true}) {
    Quantized q = small();
    if (symmetric) q.zeros = torch::full({2, 2}, 8, torch::kInt32);
    const PackScheme scheme = pack_scheme(q, torch::kFloat32, "x");
    const auto reader = reader_of(folder, pack_weight(scheme, "x", q, torch::kFloat32));
    const Quantized back = read_packed(reader, scheme, "x", 2, 4);
    CHECK(back.bits == 4);
    CHECK(back.codes.equal(q.codes));
    CHECK(back.scales.equal(q.scales));
    CHECK(back.zeros.equal(q.zeros));
    CHECK(back.zeros.scalar_type() == torch::kInt32);
    CHECK(back.group_index.equal(q.group_index));
    check_weight_shape(reader, "x", 2, 4);
    require_format_error([&] { check_weight_shape(reader, "x", 4, 2); }, "x.weight_shape",
                         "asks for [4, 2]. Got [2, 4]");
  }
}

TEST_CASE("read_packed: left-over bits and impossible scales are a bad file", "[checkpoint]") {
  const TemporaryFolder folder;
  const PackScheme scheme = pack_scheme(small(), torch::kFloat32, "x");
  const auto refuse = [&](std::size_t part, auto change, const char* rule) {
    auto tensors = pack_weight(scheme, "x", small(), torch::kFloat32);
    change(tensors[part].second);
    const auto reader = reader_of(folder, tensors);
    require_format_error([&] { read_packed(reader, scheme, "x", 2, 4); }, tensors[part].first,
                         rule);
  };
  refuse(0, [](torch::Tensor& words) { words[1][0] = 0x1CDEF; }, "must be zero");
  refuse(0, [](torch::Tensor& words) { words[0][0] = -1; }, "must be zero");
  refuse(3, [](torch::Tensor& words) { words[0][1] = 0x1F3; }, "must be zero");
  for (const float scale : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    refuse(1, [&](torch::Tensor& scales) { scales[1][0] = scale; }, "positive and finite");
  }
}

TEST_CASE("pack_scheme: what the format cannot hold is refused with the layer and a way out",
          "[checkpoint]") {
  const auto refuse = [](auto change, torch::Dtype dtype, const std::string& rule) {
    Quantized q = small();
    change(q);
    CHECK_THROWS_AS(pack_scheme(q, dtype, "layers.3.up_proj"), std::invalid_argument);
    CHECK_THROWS_WITH(pack_scheme(q, dtype, "layers.3.up_proj"),
                      Catch::StartsWith("[save_model] ") && Catch::Contains("layers.3.up_proj") &&
                          Catch::Contains(rule));
  };
  const auto index = [](std::vector<int32_t> values) {
    return [values](Quantized& q) { q.group_index = torch::tensor(values, torch::kInt32); };
  };
  refuse([](Quantized& q) { q.bits = 3; }, torch::kFloat32, "4 or 8 bits. Got 3");
  refuse(index({0, 1, 0, 1}), torch::kFloat32, "no other order");
  refuse(index({1, 1, 0, 0}), torch::kFloat32, "no other order");
  refuse(index({0, 0, 0, 1}), torch::kFloat32, "a group that divides 4");
  refuse(index({0, 1, 1, 1}), torch::kFloat32, "no other order");
  refuse(index({0, 0, 0, 0}), torch::kFloat32, "2 scales a row for 1 groups");
  refuse([](Quantized& q) { q.scales[1][1] = 0.1f; }, torch::kBFloat16, "scale_dtype=\"bfloat16\"");
  refuse([](Quantized& q) { q.scales[1][1] = 70000.0f; }, torch::kHalf, "scale_dtype=\"float16\"");
  refuse([](Quantized& q) { q.scales[0][0] = 0.0f; }, torch::kFloat32, "positive and finite");
  refuse([](Quantized& q) { q.zeros[0][0] = 16; }, torch::kFloat32, "in [0, 16). Got values from");
  refuse([](Quantized& q) { q.zeros[0][0] = -1; }, torch::kFloat32, "in [0, 16). Got values from");
}

}  // namespace cupel::test
