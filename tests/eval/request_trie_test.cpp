#include "eval/request_trie.h"

#include "support/catch.h"
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "cupel/core/random.h"

using namespace cupel;

namespace {

std::vector<int64_t> all_of(const std::vector<TokenRequest>& requests) {
  std::vector<int64_t> all(requests.size());
  std::iota(all.begin(), all.end(), 0);
  return all;
}

int64_t tokens_of(const std::vector<TrieNode>& nodes) {
  int64_t tokens = 0;
  for (const auto& node : nodes) tokens += node.end - node.begin;
  return tokens;
}

// Each request's input is spelt once by the nodes that it runs through, each after its parent.
void check_covers(const std::vector<TrieNode>& nodes, const std::vector<TokenRequest>& requests,
                  int64_t begin) {
  std::map<int64_t, int64_t> reached, last;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    reached[static_cast<int64_t>(i)] = begin;
    last[static_cast<int64_t>(i)] = -1;
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto& node = nodes[i];
    REQUIRE(node.begin < node.end);
    REQUIRE(node.level == (node.parent < 0 ? 0 : nodes[node.parent].level + 1));
    for (const int64_t request : node.requests) {
      REQUIRE(reached[request] == node.begin);
      REQUIRE(last[request] == node.parent);
      reached[request] = node.end;
      last[request] = static_cast<int64_t>(i);
      const auto &mine = requests[request].tokens, &named = requests[node.request].tokens;
      REQUIRE(std::equal(mine.begin(), mine.begin() + node.end, named.begin()));
    }
  }
  for (std::size_t i = 0; i < requests.size(); ++i) {
    REQUIRE(reached[static_cast<int64_t>(i)] == requests[i].input());
  }
}

}  // namespace

TEST_CASE("build_trie: header, questions and choices run once each") {
  // Header 1 2 3, questions 4 5 and 6 7, choices 8 9 x and 9 9 x.
  std::vector<TokenRequest> requests;
  for (const std::vector<int64_t>& question : {std::vector<int64_t>{4, 5}, {6, 7}}) {
    for (const int64_t choice : {8, 9}) {
      std::vector<int64_t> tokens{1, 2, 3};
      tokens.insert(tokens.end(), question.begin(), question.end());
      tokens.insert(tokens.end(), {choice, 9, 0});
      requests.push_back({tokens, 5});
    }
  }
  const auto nodes = build_trie(requests, all_of(requests), 0, {.least_tokens = 2});
  REQUIRE(nodes.size() == 7);
  check_covers(nodes, requests, 0);
  CHECK(tokens_of(nodes) == 3 + 2 * (2 + 2 * 2));
  CHECK(nodes[0].requests.size() == 4);
  CHECK(nodes[1].parent == 0);
  CHECK(nodes[2].parent == 1);
  CHECK(nodes[4].parent == 0);
}

TEST_CASE("build_trie: inputs that differ in what is scored last are one") {
  // Letters after one question: the last token is scored and not run.
  std::vector<TokenRequest> requests;
  for (const int64_t letter : {7, 8, 9}) requests.push_back({{1, 2, 3, 4, letter}, 4});
  const auto nodes = build_trie(requests, all_of(requests), 0, {});
  REQUIRE(nodes.size() == 1);
  CHECK(nodes[0].requests.size() == 3);
  CHECK(nodes[0].end == 4);
}

TEST_CASE("build_trie: any requests are covered, with the fewest tokens when all parts count") {
  PythonRandom random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenRequest> requests;
    const int64_t begin = round % 3;
    for (uint64_t i = 0, n = 1 + random.below(12); i < n; ++i) {
      TokenRequest request{std::vector<int64_t>(begin, 5), begin + 1};  // all agree before begin
      for (uint64_t k = 0, length = 2 + random.below(8); k < length; ++k) {
        request.tokens.push_back(static_cast<int64_t>(random.below(2)));
      }
      requests.push_back(request);
    }
    for (const int64_t least : {1, 2, 4}) {
      check_covers(build_trie(requests, all_of(requests), begin, {.least_tokens = least}), requests,
                   begin);
    }
    std::set<std::vector<int64_t>> prefixes;  // every one of them must be run by something
    for (const auto& request : requests) {
      for (int64_t end = begin + 1; end <= request.input(); ++end) {
        prefixes.insert({request.tokens.begin(), request.tokens.begin() + end});
      }
    }
    const auto nodes = build_trie(requests, all_of(requests), begin, {.least_tokens = 1});
    CHECK(tokens_of(nodes) == static_cast<int64_t>(prefixes.size()));
  }
}

TEST_CASE("build_trie: common parts alone end before anything that is scored") {
  std::vector<TokenRequest> requests;
  for (int64_t i = 0; i < 10; ++i) requests.push_back({{1, 2, 3, 4, 5, 6 + i, 0}, 5});
  const auto nodes = build_trie(requests, all_of(requests), 0,
                                {.least_tokens = 2, .least_requests = 8, .whole = false});
  REQUIRE(nodes.size() == 1);
  CHECK(nodes[0].end == 4);  // the row of token 4 gives the first scored token, so it is no prefix
  requests[3].first = 2;
  CHECK(build_trie(requests, all_of(requests), 0,
                   {.least_tokens = 2, .least_requests = 8, .whole = false})
            .empty());
  const std::vector<TokenRequest> few(requests.begin(), requests.begin() + 3);
  CHECK(build_trie(few, all_of(few), 0, {.least_tokens = 2, .least_requests = 8, .whole = false})
            .empty());
}
