#include "model/step_attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "model/vector_math.h"

namespace cupel {

namespace {

constexpr int64_t kLanes = 16;  // sums that go side by side, so that compilers make vectors of them

inline __attribute__((always_inline)) float real(float x) { return x; }

inline __attribute__((always_inline)) float real(c10::BFloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.x) << 16);
}

inline __attribute__((always_inline)) void store(float x, float& to) { to = x; }

inline __attribute__((always_inline)) void store(float x, c10::BFloat16& to) {
  to.x = bfloat16_bits(x);
}

inline __attribute__((always_inline)) float total(const float* lanes) {
  float sum = 0;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

// One head. `query` is scaled; `scores` holds `tokens` numbers, `sums` d.
template <typename Element>
inline __attribute__((always_inline)) void attend(const float* query, const Element* keys,
                                                  const Element* values, int64_t tokens, int64_t d,
                                                  float* scores, float* sums, Element* out) {
  const int64_t whole = d / kLanes * kLanes;
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t t = 0; t < tokens; ++t) {
    const Element* key = keys + t * d;
    float lanes[kLanes] = {};
    for (int64_t j = 0; j < whole; j += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) lanes[l] += query[j + l] * real(key[j + l]);
    }
    float score = total(lanes);
    for (int64_t j = whole; j < d; ++j) score += query[j] * real(key[j]);
    scores[t] = score;
    largest = std::max(largest, score);
  }
  for (int64_t t = 0; t < tokens; ++t) scores[t] = fast_exp(scores[t] - largest);
  float weight = 0;
  std::fill_n(sums, d, 0.0f);
  for (int64_t t = 0; t < tokens; ++t) {
    const Element* value = values + t * d;
    const float share = scores[t];
    weight += share;
    for (int64_t j = 0; j < d; ++j) sums[j] += share * real(value[j]);
  }
  for (int64_t j = 0; j < d; ++j) store(sums[j] / weight, out[j]);
}

CUPEL_CLONES void attend_float(const float* query, const float* keys, const float* values,
                               int64_t tokens, int64_t d, float* scores, float* sums, float* out) {
  attend(query, keys, values, tokens, d, scores, sums, out);
}

CUPEL_CLONES void attend_bfloat16(const float* query, const c10::BFloat16* keys,
                                  const c10::BFloat16* values, int64_t tokens, int64_t d,
                                  float* scores, float* sums, c10::BFloat16* out) {
  attend(query, keys, values, tokens, d, scores, sums, out);
}

template <typename Element, typename Attend>
void all_heads(const torch::Tensor& q, const KeyValues& own, int64_t tokens,
               const torch::Tensor& out, const Attend& attend_head) {
  const int64_t heads = q.size(0), d = q.size(1), repeat = heads / own.keys.size(0);
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  std::vector<float> room(static_cast<std::size_t>(tokens + 2 * d));
  float *scores = room.data(), *query = scores + tokens, *sums = query + d;
  const auto* asked = q.const_data_ptr<Element>();
  const auto* keys = own.keys.const_data_ptr<Element>();
  const auto* values = own.values.const_data_ptr<Element>();
  auto* made = out.mutable_data_ptr<Element>();
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t j = 0; j < d; ++j) query[j] = scale * real(asked[head * d + j]);
    const int64_t from = head / repeat;
    attend_head(query, keys + from * own.keys.stride(0), values + from * own.values.stride(0),
                tokens, d, scores, sums, made + head * d);
  }
}

}  // namespace

bool can_attend_newest(const torch::Tensor& q) {
  return q.is_cpu() && (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16);
}

void attend_newest(const torch::Tensor& q, const KeyValues& own, int64_t tokens,
                   const torch::Tensor& out) {
  if (q.scalar_type() == at::kFloat) {
    all_heads<float>(q, own, tokens, out, attend_float);
  } else {
    all_heads<c10::BFloat16>(q, own, tokens, out, attend_bfloat16);
  }
}

}  // namespace cupel
