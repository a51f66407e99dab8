#include "core/regex.h"

#include "support/catch.h"

#include <stdexcept>

using cupel::Regex;

TEST_CASE("Regex: matches from the start, any number of times") {
  const Regex expression(".*\\.(0|1)\\.mlp");
  CHECK(expression.matches("layers.1.mlp.up"));
  CHECK(expression.matches("layers.0.mlp"));
  CHECK_FALSE(expression.matches("layers.2.mlp.up"));
  CHECK_FALSE(Regex("mlp").matches("layers.mlp"));
  CHECK(Regex("").matches("anything"));
}

TEST_CASE("Regex: no expression and no end are errors that can be printed") {
  CHECK_THROWS_AS(Regex("("), std::invalid_argument);
  CHECK_THROWS_WITH(Regex("\x1b["), Catch::Contains("\\x1b["));
  const std::string name(30, 'a');
  CHECK_THROWS_WITH(Regex("(a+)+\\d", 1000).matches(name), Catch::Contains("too many steps"));
  CHECK(Regex("a+", 1000).matches(name));
}
