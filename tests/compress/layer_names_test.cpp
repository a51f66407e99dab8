#include "cupel/compress/layer_names.h"

#include "support/catch.h"

using namespace cupel;

namespace {
const std::vector<std::string> kNames{
    "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj",
    "model.layers.1.self_attn.q_proj", "model.layers.10.self_attn.q_proj"};
}

TEST_CASE("matches_layer: exact names") {
  CHECK(matches_layer("model.layers.0.mlp.up_proj", "model.layers.0.mlp.up_proj"));
  CHECK_FALSE(matches_layer("layers.0.mlp.up_proj", "model.layers.0.mlp.up_proj"));
  CHECK_FALSE(matches_layer("model.layers.0.mlp", "model.layers.0.mlp.up_proj"));
  CHECK_FALSE(matches_layer("", "a"));
}

TEST_CASE("matches_layer: globs") {
  CHECK(matches_layer("*.mlp.*", "model.layers.0.mlp.up_proj"));
  CHECK(matches_layer("*", "anything"));
  CHECK(matches_layer("model.layers.?.*.q_proj", "model.layers.1.self_attn.q_proj"));
  CHECK_FALSE(matches_layer("model.layers.?.*.q_proj", "model.layers.10.self_attn.q_proj"));
  CHECK(matches_layer("a*b*c", "a1b2b3c"));
  CHECK_FALSE(matches_layer("a*b*c", "a1b2b3"));
  CHECK(matches_layer("a**", "a"));
  CHECK_FALSE(matches_layer("model.layers.0?*", "model.layers.0"));
  CHECK_FALSE(matches_layer("modelxlayers*", "model.layers.0"));  // a dot is a dot
}

TEST_CASE("matches_layer: regular expressions match from the start, as re.match does") {
  CHECK(matches_layer("re:.*q_proj", "model.layers.0.self_attn.q_proj"));
  CHECK(matches_layer("re:model", "model.layers.0.self_attn.q_proj"));
  CHECK_FALSE(matches_layer("re:layers", "model.layers.0.self_attn.q_proj"));
  CHECK_FALSE(matches_layer("re:.*q_proj$x", "model.layers.0.self_attn.q_proj"));
  CHECK(matches_layer("re:.*\\.(0|1)\\..*q_proj", kNames[2]));
  CHECK_FALSE(matches_layer("re:.*\\.(0|1)\\..*q_proj", kNames[3]));
}

TEST_CASE("matches_layer: a bad or endless expression is an error, not a hang") {
  CHECK_THROWS_AS(matches_layer("re:(", "a"), std::invalid_argument);
  CHECK_THROWS_WITH(matches_layer("re:(", "a"), Catch::Contains("'re:('"));
  const std::string long_name(60, 'a');
  CHECK_THROWS_WITH(matches_layer("re:(a+)+\\d", long_name), Catch::Contains("too many steps"));
}

TEST_CASE("select_layers: model order, each name once") {
  CHECK(select_layers("skip", {"*q_proj", "re:.*layers.0.*"}, kNames) == kNames);
  CHECK(select_layers("skip", {kNames[2], kNames[0], kNames[2]}, kNames) ==
        std::vector<std::string>{kNames[0], kNames[2]});
  CHECK(select_layers("skip", {}, kNames).empty());
}

TEST_CASE("select_layers: a pattern that matches nothing is an error that shows names") {
  CHECK_THROWS_AS(select_layers("skip", {"*q_proj", "lm_head"}, kNames), std::invalid_argument);
  CHECK_THROWS_WITH(select_layers("skip", {"*q_proj", "lm_head"}, kNames),
                    Catch::Contains("[skip] 'lm_head' matches no linear layer") &&
                        Catch::Contains(kNames.front()));
  CHECK_THROWS_AS(select_layers("only", {"*"}, {}), std::invalid_argument);
}
