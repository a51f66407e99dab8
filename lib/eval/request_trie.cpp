#include "eval/request_trie.h"

#include <algorithm>

namespace cupel {

namespace {

class TrieBuilder {
 public:
  TrieBuilder(const std::vector<TokenRequest>& requests, const TrieOptions& options,
              std::vector<int64_t> chosen)
      : requests_(requests), options_(options), order_(std::move(chosen)) {
    std::sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
      const auto &x = requests_[a], &y = requests_[b];
      const auto input_end = [](const TokenRequest& r) { return r.tokens.begin() + r.input(); };
      const auto [i, j] =
          std::mismatch(x.tokens.begin(), input_end(x), y.tokens.begin(), input_end(y));
      if (i == input_end(x) && j == input_end(y)) return a < b;
      if (i == input_end(x) || j == input_end(y)) return i == input_end(x);
      return *i < *j;
    });
  }

  std::vector<TrieNode> build(int64_t begin) {
    grow(0, order_.size(), begin, begin, -1, 0);
    return std::move(nodes_);
  }

 private:
  const TokenRequest& request(std::size_t i) const { return requests_[order_[i]]; }

  // Up to where the sorted requests [low, high), equal before `from`, have the same input.
  int64_t common_end(std::size_t low, std::size_t high, int64_t from) const {
    const auto &a = request(low), &b = request(high - 1);
    const int64_t most = std::min(a.input(), b.input());
    int64_t end = std::min(from, most);
    while (end < most && a.tokens[end] == b.tokens[end]) ++end;
    return end;
  }

  // The first position whose logits one of them needs.
  int64_t first_wanted(std::size_t low, std::size_t high) const {
    int64_t first = request(low).first - 1;
    for (std::size_t i = low; i < high; ++i) first = std::min(first, request(i).first - 1);
    return first;
  }

  // Different inputs among the sorted requests [low, high).
  int64_t distinct(std::size_t low, std::size_t high) const {
    int64_t count = 1;
    for (std::size_t i = low + 1; i < high; ++i) {
      const auto &a = request(i - 1), &b = request(i);
      count += a.input() != b.input() ||
               !std::equal(a.tokens.begin(), a.tokens.begin() + a.input(), b.tokens.begin());
    }
    return count;
  }

  int64_t add(std::size_t low, std::size_t high, int64_t begin, int64_t end, int64_t parent,
              int64_t level) {
    TrieNode node{order_[low], begin, end, parent, level, {}};
    for (std::size_t i = low; i < high; ++i) node.requests.push_back(order_[i]);
    nodes_.push_back(std::move(node));
    return static_cast<int64_t>(nodes_.size()) - 1;
  }

  // The requests [low, high) agree up to `known`; their tokens from `begin` on have no node yet.
  void grow(std::size_t low, std::size_t high, int64_t begin, int64_t known, int64_t parent,
            int64_t level) {
    if (low == high) return;
    const int64_t inputs = distinct(low, high);
    if (inputs < options_.least_requests) {
      if (!options_.whole) return;
      if (inputs == 1) {
        add(low, high, begin, request(low).input(), parent, level);
        return;
      }
    }
    int64_t end = common_end(low, high, known);
    const bool cut = !options_.whole && first_wanted(low, high) < end;
    if (cut) end = first_wanted(low, high);
    if (inputs >= options_.least_requests && end - begin >= options_.least_tokens) {
      parent = add(low, high, begin, end, parent, level++);
      begin = end;
    }
    if (cut) return;
    std::size_t next = low;
    while (next < high && request(next).input() == end) ++next;
    if (options_.whole && next > low && begin < end) add(low, next, begin, end, parent, level);
    while (next < high) {
      const std::size_t from = next;
      while (next < high && request(next).tokens[end] == request(from).tokens[end]) ++next;
      grow(from, next, begin, end + 1, parent, level);
    }
  }

  const std::vector<TokenRequest>& requests_;
  TrieOptions options_;
  std::vector<int64_t> order_;
  std::vector<TrieNode> nodes_;
};

}  // namespace

std::vector<TrieNode> build_trie(const std::vector<TokenRequest>& requests,
                                 const std::vector<int64_t>& chosen, int64_t begin,
                                 const TrieOptions& options) {
  return TrieBuilder(requests, options, chosen).build(begin);
}

}  // namespace cupel
