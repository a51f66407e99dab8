#include "cupel/core/registry.h"

#include "support/catch.h"

#include <stdexcept>
#include <string>
#include <vector>

using Catch::Contains;
using cupel::Registry;

TEST_CASE("registry: what was added is found, and names come sorted", "[core]") {
  Registry<int> numbers("number");
  numbers.add("two", 2);
  numbers.add("one", 1);
  CHECK(numbers.get("one") == 1);
  CHECK(numbers.get("two") == 2);
  CHECK(numbers.names() == std::vector<std::string>{"one", "two"});
}

TEST_CASE("registry: an unknown name is told what is known", "[core]") {
  Registry<int> numbers("number");
  numbers.add("one", 1);
  numbers.add("two", 2);
  CHECK_THROWS_WITH(numbers.get("three"),
                    Contains("unknown number 'three'") && Contains("known: one, two."));
  CHECK_THROWS_AS(numbers.get("three"), std::invalid_argument);
}

TEST_CASE("registry: a taken or empty name is refused and changes nothing", "[core]") {
  Registry<int> numbers("number");
  numbers.add("one", 1);
  CHECK_THROWS_WITH(numbers.add("one", 7), Contains("unique") && Contains("'one'"));
  CHECK_THROWS_AS(numbers.add("", 7), std::invalid_argument);
  CHECK(numbers.get("one") == 1);
  CHECK(numbers.names().size() == 1);
}

TEST_CASE("registry: a removed name is free again", "[core]") {
  Registry<int> numbers("number");
  numbers.add("one", 1);
  numbers.remove("one");
  CHECK_THROWS_AS(numbers.get("one"), std::invalid_argument);
  CHECK_THROWS_AS(numbers.remove("one"), std::invalid_argument);
  numbers.add("one", 11);
  CHECK(numbers.get("one") == 11);
}
