#include "eval/prefix_engine.h"

#include <algorithm>
#include <limits>

#include "eval/state_tokens.h"
#include "eval/token_scores.h"

namespace cupel {

namespace {

// A trunk node runs alone: below this many tokens that costs more than it saves.
constexpr int64_t kTrunkTokens = 32, kTrunkRequests = 8;

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

struct Wanted {
  int64_t position, request;
};

// The scored positions that fall into a node, with the requests that score them.
std::vector<Wanted> wanted_in(const TrieNode& node, const std::vector<TokenRequest>& requests) {
  std::vector<Wanted> wanted;
  for (const int64_t request : node.requests) {
    const int64_t from = std::max(node.begin, requests[request].first - 1);
    for (int64_t position = from; position < node.end; ++position) {
      wanted.push_back({position, request});
    }
  }
  std::stable_sort(wanted.begin(), wanted.end(),
                   [](const Wanted& a, const Wanted& b) { return a.position < b.position; });
  return wanted;
}

}  // namespace

PrefixEngine::PrefixEngine(TokenModel& model, const TokenModelInfo& info, bool share,
                           int64_t batch_tokens, int64_t state_bytes)
    : model_(model),
      share_(share && info.has_states),
      batch_tokens_(batch_tokens),
      most_state_tokens_(state_tokens(info, state_bytes)) {}

std::vector<int64_t> PrefixEngine::announce(const std::vector<TokenRequest>& requests) {
  trunk_.clear();
  roots_.clear();
  recent_.clear();
  std::vector<int64_t> costs, all;
  for (std::size_t i = 0; i < requests.size(); ++i) all.push_back(static_cast<int64_t>(i));
  if (share_) {
    const auto nodes = build_trie(
        requests, all, 0,
        {.least_tokens = kTrunkTokens, .least_requests = kTrunkRequests, .whole = false});
    for (const auto& node : nodes) {
      const auto from = requests[node.request].tokens.begin();
      trunk_.push_back({{from + node.begin, from + node.end}, node.end, node.parent, {}, {}});
      auto& siblings = node.parent < 0 ? roots_ : trunk_[node.parent].children;
      siblings.push_back(static_cast<int64_t>(trunk_.size()) - 1);
    }
  }
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const TokenRequest& request = requests[i];
    const int64_t node = deepest(request);
    int64_t shared = node < 0 ? 0 : trunk_[node].end;
    if (share_ && i > 0) {  // the choices of a question follow each other
      const auto from = request.tokens.begin(), end = from + request.input();
      const auto before = requests[i - 1].tokens.begin();
      const auto same = std::mismatch(from, end, before, before + requests[i - 1].input()).first;
      shared = std::max<int64_t>(shared, same - from);
    }
    costs.push_back(request.input() - shared);
  }
  return costs;
}

int64_t PrefixEngine::deepest(const TokenRequest& request) const {
  int64_t node = -1;
  for (bool found = true; found;) {
    found = false;
    const int64_t begin = node < 0 ? 0 : trunk_[node].end;
    for (const int64_t child : node < 0 ? roots_ : trunk_[node].children) {
      const auto& [tokens, end, parent, children, state] = trunk_[child];
      found = end < request.first &&
              std::equal(tokens.begin(), tokens.end(), request.tokens.begin() + begin);
      if (!found) continue;
      node = child;
      break;
    }
  }
  return node;
}

TokenModel::StatePtr PrefixEngine::trunk_state(int64_t index) {
  if (index < 0) return nullptr;
  TrunkNode& node = trunk_[index];
  recent_.remove(index);
  recent_.push_front(index);
  const auto before = trunk_state(node.parent);  // comes before its child in `recent_`
  if (!node.state) {
    node.state = model_.prefill(node.tokens, before);
    counts_.run += static_cast<int64_t>(node.tokens.size());
  }
  return node.state;
}

void PrefixEngine::drop_old_states(int64_t keep) {
  int64_t tokens = 0;
  for (auto it = recent_.begin(); it != recent_.end();) {
    tokens += static_cast<int64_t>(trunk_[*it].tokens.size());
    bool in_use = false;
    for (int64_t node = keep; node >= 0; node = trunk_[node].parent) in_use |= node == *it;
    if (tokens <= most_state_tokens_ || in_use) {
      ++it;
      continue;
    }
    trunk_[*it].state = nullptr;
    it = recent_.erase(it);
  }
}

std::vector<RequestScore> PrefixEngine::score(const std::vector<TokenRequest>& requests,
                                              const std::function<void(int64_t)>& progress,
                                              bool share) {
  // What hangs on one trunk node stands together, in the trunk's own order.
  std::vector<std::vector<int64_t>> hanging(trunk_.size() + 1);
  int64_t inputs = 0, done = 0, group_tokens = 0;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    hanging[share ? deepest(requests[i]) + 1 : 0].push_back(static_cast<int64_t>(i));
    inputs += requests[i].input();
  }
  std::vector<RequestScore> scores(requests.size());
  const int64_t run_before = counts_.run;
  std::vector<Branch> group;
  const auto run = [&] {
    run_branches(requests, group, scores);
    for (const auto& branch : group) {
      done += static_cast<int64_t>(branch.nodes.front().requests.size());
    }
    if (!group.empty()) progress(done);
    group.clear();
    group_tokens = 0;
  };
  for (std::size_t i = 0; i < hanging.size(); ++i) {
    if (hanging[i].empty()) continue;
    const auto trunk = static_cast<int64_t>(i) - 1;
    const TrieOptions options{.least_tokens =
                                  share && share_ ? TrieOptions().least_tokens : kNever};
    const auto nodes = build_trie(requests, hanging[i], trunk < 0 ? 0 : trunk_[trunk].end, options);
    const TokenModel::StatePtr state = trunk_state(trunk);
    drop_old_states(trunk);
    for (std::size_t from = 0, to = 1; from < nodes.size(); from = to++) {
      while (to < nodes.size() && nodes[to].level > 0) ++to;
      Branch branch{
          {nodes.begin() + static_cast<int64_t>(from), nodes.begin() + static_cast<int64_t>(to)},
          std::vector<TokenModel::StatePtr>(to - from),
          state};
      int64_t tokens = 0;
      for (auto& node : branch.nodes) {
        tokens += node.end - node.begin;
        if (node.parent >= 0) node.parent -= static_cast<int64_t>(from);
      }
      if (group_tokens + tokens > 2 * batch_tokens_) run();
      group.push_back(std::move(branch));
      group_tokens += tokens;
    }
  }
  run();
  counts_.shared += inputs - (counts_.run - run_before);
  return scores;
}

void PrefixEngine::run_branches(const std::vector<TokenRequest>& requests,
                                std::vector<Branch>& branches, std::vector<RequestScore>& scores) {
  int64_t levels = 0;
  for (const auto& branch : branches) {
    for (const auto& node : branch.nodes) levels = std::max(levels, node.level + 1);
  }
  for (int64_t level = 0; level < levels; ++level) {
    std::vector<std::pair<Branch*, std::size_t>> run;
    int64_t tokens = 0;
    for (auto& branch : branches) {
      for (std::size_t i = 0; i < branch.nodes.size(); ++i) {
        const auto& node = branch.nodes[i];
        if (node.level != level) continue;
        if (!run.empty() && tokens + node.end - node.begin > batch_tokens_) {
          run_nodes(requests, run, scores);
          run.clear();
          tokens = 0;
        }
        run.emplace_back(&branch, i);
        tokens += node.end - node.begin;
      }
    }
    if (!run.empty()) run_nodes(requests, run, scores);
  }
}

void PrefixEngine::run_nodes(const std::vector<TokenRequest>& requests,
                             const std::vector<std::pair<Branch*, std::size_t>>& nodes,
                             std::vector<RequestScore>& scores) {
  std::vector<TokenModel::Row> rows;
  std::vector<Target> targets;
  std::vector<int64_t> owners;
  int64_t wanted_rows = 0;
  for (const auto& [branch, index] : nodes) {
    const TrieNode& node = branch->nodes[index];
    const auto tokens = requests[node.request].tokens.begin();
    TokenModel::Row row{.tokens = {tokens + node.begin, tokens + node.end},
                        .state = node.parent < 0 ? branch->trunk : branch->states[node.parent]};
    for (const auto& child : branch->nodes) {
      row.keep = row.keep || child.parent == static_cast<int64_t>(index);
    }
    for (const auto& [position, request] : wanted_in(node, requests)) {
      if (row.wanted.empty() || row.wanted.back() != position - node.begin) {
        row.wanted.push_back(position - node.begin);
        ++wanted_rows;
      }
      targets.push_back({wanted_rows - 1, requests[request].tokens[position + 1]});
      owners.push_back(request);
    }
    counts_.run += node.end - node.begin;
    rows.push_back(std::move(row));
  }
  std::vector<TokenModel::StatePtr> states;
  const TargetScores made = score_targets(model_, rows, targets, &states);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes[i].first->states[nodes[i].second] = states[i];
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    scores[owners[i]].add(made.log_probability[i], targets[i].token, made.top[i]);
  }
}

void RequestScore::add(double value, int64_t token, int64_t likeliest) {
  if (tokens == 0) top = likeliest;
  log_probability += value;
  is_greedy = is_greedy && token == likeliest;
  ++tokens;
}

RequestScore PrefixEngine::score_alone(const TokenRequest& request) {
  const TargetScores made = score_tokens(model_, {request.tokens}, request.first);
  RequestScore score;
  for (std::size_t i = 0; i < made.log_probability.size(); ++i) {
    score.add(made.log_probability[i], request.tokens[request.first + i], made.top[i]);
  }
  return score;
}

}  // namespace cupel
