#include "support/catch.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "cupel/checkpoint/safetensors.h"
#include "cupel/core/file.h"
#include "support/temporary_folder.h"

using cupel::SafetensorsWriter;
using cupel::TensorInfo;
using cupel::test::TemporaryFolder;

namespace {

const std::vector<TensorInfo> kInfos = {
    {"a", torch::kFloat32, {2, 3}}, {"empty", torch::kInt8, {0}}, {"b", torch::kBFloat16, {5}}};

}  // namespace

TEST_CASE("SafetensorsWriter: any order of writing gives the file of write_safetensors",
          "[checkpoint]") {
  const TemporaryFolder folder;
  const auto a = torch::arange(6, torch::kFloat32).reshape({3, 2}).t();
  const auto b = torch::full({5}, 0.5, torch::kBFloat16), empty = torch::empty({0}, torch::kInt8);
  SafetensorsWriter writer(folder.file("pieces"), kInfos, {{"format", "pt"}});
  writer.write("b", b);
  const std::string hash = writer.write("a", a);
  writer.write("empty", empty);
  writer.commit();
  cupel::write_safetensors(folder.file("whole"), {{"a", a}, {"empty", empty}, {"b", b}},
                           {{"format", "pt"}});
  CHECK(folder.read("pieces") == folder.read("whole"));
  const auto values = a.contiguous();
  CHECK(hash == cupel::sha256({static_cast<const char*>(values.data_ptr()), values.nbytes()}));
}

TEST_CASE("SafetensorsWriter: each tensor is written once, as announced", "[checkpoint]") {
  const TemporaryFolder folder;
  SafetensorsWriter writer(folder.file("a"), kInfos);
  writer.write("a", torch::ones({2, 3}));
  CHECK_THROWS_AS(writer.write("a", torch::ones({2, 3})), std::invalid_argument);
  CHECK_THROWS_AS(writer.write("c", torch::ones({2, 3})), std::invalid_argument);
  CHECK_THROWS_AS(writer.write("b", torch::ones({5})), std::invalid_argument);
  CHECK_THROWS_AS(writer.write("b", torch::ones({6}, torch::kBFloat16)), std::invalid_argument);
  CHECK_THROWS_AS(writer.write("b", torch::Tensor()), std::invalid_argument);
  CHECK_THROWS_WITH(writer.commit(), Catch::Contains("every announced tensor"));
}

TEST_CASE("SafetensorsWriter: without commit nothing is left", "[checkpoint]") {
  const TemporaryFolder folder;
  folder.write("a", "old");
  {
    SafetensorsWriter writer(folder.file("a"), kInfos);
    writer.write("a", torch::ones({2, 3}));
  }
  CHECK(folder.read("a") == "old");
  CHECK(folder.names() == std::vector<std::string>{"a"});
}

TEST_CASE("SafetensorsWriter: names and dtypes are checked before a file is opened",
          "[checkpoint]") {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::vector<TensorInfo>& infos) {
    CHECK_THROWS_AS(SafetensorsWriter(folder.file("a"), infos), std::invalid_argument);
  };
  refuse({{"x", torch::kComplexDouble, {1}}});
  refuse({{"x", torch::kFloat32, {1}}, {"x", torch::kFloat32, {1}}});
  refuse({{"__metadata__", torch::kFloat32, {1}}});
  refuse({{"", torch::kFloat32, {1}}});
  CHECK(folder.names().empty());
}

TEST_CASE("SafetensorsWriter: a growing file holds what came, in the order of writing",
          "[checkpoint]") {
  const TemporaryFolder folder;
  const auto b = torch::full({5}, 0.5, torch::kBFloat16), empty = torch::empty({0}, torch::kInt8);
  const auto a = torch::arange(6, torch::kFloat32).reshape({3, 2}).t();
  const std::string odd = "quotation \" and \xC3\xA4";
  auto writer = SafetensorsWriter::growing(folder.file("a"),
                                           {{"a", torch::kFloat32, {100, 3}},
                                            {"never", torch::kFloat32, {1000000, 1000000}},
                                            {"b", torch::kBFloat16, {5}},
                                            {odd, torch::kInt8, {0}}},
                                           {{"format", "pt"}});
  writer.write("b", b);
  writer.write(odd, empty);
  const auto refuse = [&](const char* name, const torch::Tensor& tensor, const char* rule) {
    CHECK_THROWS_AS(writer.write(name, tensor), std::invalid_argument);
    CHECK_THROWS_WITH(writer.write(name, tensor), Catch::Contains(rule));
  };
  refuse("a", torch::ones({2, 4}), "announced");
  refuse("a", torch::ones({2}), "announced");
  refuse("a", a.to(torch::kHalf), "announced");
  refuse("b", b, "written once");
  refuse("c", b, "announced at the start");
  const std::string hash = writer.write("a", a);
  CHECK(hash == SafetensorsWriter(folder.file("x"), {kInfos[0]}).write("a", a));
  writer.commit();
  CHECK(folder.names() == std::vector<std::string>{"a"});
  const cupel::SafetensorsFile file(folder.file("a"));
  REQUIRE(file.tensors().size() == 3);
  CHECK(file.tensors()[0].name == "b");
  CHECK(file.tensors()[1].name == odd);
  CHECK(file.tensors()[2].name == "a");
  CHECK(file.tensors()[0].begin % 8 == 0);
  CHECK(file.metadata().at("format") == "pt");
  CHECK(file.read("a").equal(a));
  CHECK(file.read("b").equal(b));
  CHECK(file.read(odd).equal(empty));
}

TEST_CASE("SafetensorsWriter: a growing file that grows to its bounds is the ordinary file",
          "[checkpoint]") {
  const TemporaryFolder folder;
  auto growing = SafetensorsWriter::growing(folder.file("a"), kInfos, {{"format", "pt"}});
  SafetensorsWriter known(folder.file("b"), kInfos, {{"format", "pt"}});
  for (auto* writer : {&growing, &known}) {
    for (const auto& info : kInfos) writer->write(info.name, torch::ones(info.shape, info.dtype));
    writer->commit();
  }
  CHECK(folder.read("a") == folder.read("b"));
}

TEST_CASE("SafetensorsWriter: a growing file may stay empty or be given up", "[checkpoint]") {
  const TemporaryFolder folder;
  SafetensorsWriter::growing(folder.file("given up"), kInfos).write("a", torch::ones({2, 3}));
  CHECK(folder.names().empty());
  SafetensorsWriter::growing(folder.file("empty"), kInfos).commit();
  CHECK(cupel::read_safetensors(folder.file("empty")).empty());
  CHECK_THROWS_AS(SafetensorsWriter::growing(folder.file("b"), {{"\xFF", torch::kInt8, {1}}}),
                  std::invalid_argument);
}
