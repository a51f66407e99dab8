#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <utility>
#include <vector>

#include "cupel/eval/scorer.h"
#include "cupel/eval/token_model.h"
#include "eval/request_trie.h"

namespace cupel {

/// The score of one TokenRequest.
struct RequestScore {
  double log_probability = 0;  ///< nats, summed
  bool is_greedy = true;
  int64_t tokens = 0;
  int64_t top = -1;  ///< the likeliest token in the place of the first scored one

  void add(double log_probability, int64_t token, int64_t likeliest);
};

/// Scores token requests so that what they have in common runs once.
///
/// Beginnings shared by many announced requests make up the trunk: each of its nodes runs alone, so
/// that its state has the same bytes whenever it is made, and the states last from call to call
/// within `state_bytes`. What hangs on the trunk is packed into runs, level by level.
class PrefixEngine {
 public:
  PrefixEngine(TokenModel& model, const TokenModelInfo& info, bool share, int64_t batch_tokens,
               int64_t state_bytes);

  /// Makes the trunk of everything that is to come; returns the tokens that each request costs
  /// beyond the trunk and beyond what it has in common with the request before.
  std::vector<int64_t> announce(const std::vector<TokenRequest>& requests);

  /// `progress(done)`, in requests, is called between runs. Without `share` the requests have
  /// nothing in common that is worth looking for.
  std::vector<RequestScore> score(const std::vector<TokenRequest>& requests,
                                  const std::function<void(int64_t done)>& progress,
                                  bool share = true);

  /// Scores one request by itself, sharing nothing.
  RequestScore score_alone(const TokenRequest& request);

  const ScorerCounts& counts() const { return counts_; }
  bool shares() const { return share_; }

 private:
  struct TrunkNode {
    std::vector<int64_t> tokens;  // its own
    int64_t end = 0;              // tokens up to here, those of its parents included
    int64_t parent = -1;
    std::vector<int64_t> children;
    TokenModel::StatePtr state;  // null when it was dropped, or never made
  };

  // A whole branch of the trie, with the state of the trunk node that it hangs on.
  struct Branch {
    std::vector<TrieNode> nodes;  // parents counted within the branch
    std::vector<TokenModel::StatePtr> states;
    TokenModel::StatePtr trunk;
  };

  int64_t deepest(const TokenRequest& request) const;
  TokenModel::StatePtr trunk_state(int64_t node);
  void drop_old_states(int64_t keep);
  void run_branches(const std::vector<TokenRequest>& requests, std::vector<Branch>& branches,
                    std::vector<RequestScore>& scores);
  void run_nodes(const std::vector<TokenRequest>& requests,
                 const std::vector<std::pair<Branch*, std::size_t>>& nodes,
                 std::vector<RequestScore>& scores);

  TokenModel& model_;
  bool share_;
  int64_t batch_tokens_, most_state_tokens_;
  std::vector<TrunkNode> trunk_;
  std::vector<int64_t> roots_;
  std::list<int64_t> recent_;  // trunk nodes with a state, the last used first
  ScorerCounts counts_;
};

}  // namespace cupel
