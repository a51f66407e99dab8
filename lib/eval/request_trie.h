#pragma once

#include <cstdint>
#include <vector>

namespace cupel {

/// A token sequence and where its scored part begins: tokens[first ..] after those before them.
struct TokenRequest {
  std::vector<int64_t> tokens;
  int64_t first = 1;

  /// The tokens that a model runs: all but the last.
  int64_t input() const { return static_cast<int64_t>(tokens.size()) - 1; }
};

/// Part of an input that runs as one sequence, after the parts that `parent` leads to.
struct TrieNode {
  int64_t request = 0;            ///< any request that runs through the node
  int64_t begin = 0, end = 0;     ///< of that request's input
  int64_t parent = -1;            ///< index of the node before; -1 = what the trie stands behind
  int64_t level = 0;              ///< nodes on the way to it
  std::vector<int64_t> requests;  ///< those that run through the node, indices of the request list
};

struct TrieOptions {
  int64_t least_tokens = 8;    ///< a shorter common part runs once for each that has it
  int64_t least_requests = 2;  ///< inputs that must have a part in common
  bool whole = true;           ///< false: only the common parts, before any scored token
};

/// The radix trie over the inputs of `requests` from position `begin` on, as nodes in depth-first
/// order. Inputs that are equal share all of their nodes. With `whole`, every input ends in a node;
/// without, what is left behind the common parts has none.
std::vector<TrieNode> build_trie(const std::vector<TokenRequest>& requests,
                                 const std::vector<int64_t>& chosen, int64_t begin,
                                 const TrieOptions& options);

}  // namespace cupel
