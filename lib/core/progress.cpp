#include "cupel/core/progress.h"

namespace cupel {

namespace {

thread_local WorkScope* innermost = nullptr;

}  // namespace

WorkScope::WorkScope(std::function<void()> tick) : tick_(std::move(tick)), outer_(innermost) {
  innermost = this;
}

WorkScope::~WorkScope() { innermost = outer_; }

void still_working() {
  WorkScope* scope = innermost;
  if (scope == nullptr) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - scope->last_ < std::chrono::milliseconds(200)) return;
  scope->last_ = now;
  scope->tick_();
}

}  // namespace cupel
