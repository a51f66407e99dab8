#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cupel/eval/scorer.h"
#include "cupel/eval/task.h"

namespace cupel {

/// What makes two requests the same one (their seed apart).
std::string request_text(const TaskRequest& request);

/// An item on its way through rounds of requests. Requests that several protocols have in common
/// are held once; two that sample are common only as far as each protocol asks them as often.
class ItemRounds {
 public:
  ItemRounds(const Task& task, const TaskItem& item, const std::vector<std::string>& protocols,
             const std::string& name, uint64_t seed);

  /// Asks each protocol that has not ended for more; the requests to be run, numbered.
  std::vector<int64_t> next();
  const TaskRequest& request(int64_t number) const { return asked_[number].request; }
  void answer(int64_t number, TaskOutput output) { asked_[number].output = std::move(output); }
  int64_t size() const { return static_cast<int64_t>(asked_.size()); }
  const TaskOutput& output(int64_t number) const { return asked_[number].output; }

  /// Numbers of the requests of a protocol, in its order.
  const std::vector<int64_t>& order(std::size_t protocol) const { return order_[protocol]; }
  std::vector<TaskOutput> outputs(std::size_t protocol) const;
  const TaskItem& item() const { return item_; }

 private:
  struct Asked {
    TaskRequest request;
    TaskOutput output;
  };

  int64_t number_of(TaskRequest request, std::map<std::string, int64_t>& uses);

  const Task& task_;
  const TaskItem& item_;
  const std::vector<std::string>& protocols_;
  const std::string& name_;
  uint64_t seed_;
  int64_t round_ = 0;
  std::vector<Asked> asked_;
  std::map<std::string, int64_t> numbers_;
  std::vector<std::vector<int64_t>> order_;           // of each protocol
  std::vector<std::map<std::string, int64_t>> uses_;  // of sampled requests in it
  std::vector<char> ended_;
};

/// Runs items through all rounds; the scorer is called once a round for each kind of request.
void run_rounds(Scorer& scorer, std::vector<ItemRounds>& items, const std::string& task);

}  // namespace cupel
