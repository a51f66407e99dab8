// A Darts-clone double array is an array of 32-bit units. The children of unit i lie at
// (i ^ offset(i)) ^ byte and carry that byte as their label; the value of unit i, if it has one,
// lies at i ^ offset(i). Rules may share tails, so the units form an acyclic graph.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cupel/core/error.h"
#include "text/sentencepiece_model.h"

namespace cupel {

namespace {

constexpr std::size_t kMaxCharsmap = std::size_t{16} << 20;
constexpr int kMaxMatches = 32;  // libsentencepiece's array on the stack
constexpr std::size_t kMaxReplacement = 4096;

struct Units {
  std::string_view bytes;

  std::size_t size() const { return bytes.size() / 4; }
  uint32_t operator[](std::size_t i) const {
    const auto* b = reinterpret_cast<const unsigned char*>(bytes.data()) + 4 * i;
    return b[0] | b[1] << 8 | b[2] << 16 | static_cast<uint32_t>(b[3]) << 24;
  }
  static bool has_value(uint32_t unit) { return unit >> 8 & 1; }
  static uint32_t label(uint32_t unit) { return unit & 0x800000FFu; }
  std::size_t base(std::size_t i) const {
    const uint32_t unit = (*this)[i];
    return i ^ ((unit >> 10) << ((unit & 0x200u) >> 6));
  }
};

}  // namespace

int64_t check_charsmap(const std::string& file, const std::string& where, std::string_view blob) {
  const auto require = [&](bool condition, const std::string& rule) {
    if (!condition) throw FormatError(file, where + ".precompiled_charsmap", rule);
  };
  require(blob.size() <= kMaxCharsmap, "it is larger than 16 MB.");
  require(blob.size() > 4, "it must hold a trie size and a trie.");
  const std::size_t trie_bytes = Units{blob.substr(0, 4)}[0];
  require(trie_bytes % 4 == 0 && trie_bytes < blob.size() - 4,
          "the trie size must be a multiple of 4 below " + std::to_string(blob.size() - 4) +
              ". Got " + std::to_string(trie_bytes) + ".");
  const Units units{blob.substr(4, trie_bytes)};
  const std::string_view replacements = blob.substr(4 + trie_bytes);

  std::size_t longest = 0;
  enum : unsigned char { unseen, open, done };
  std::vector<unsigned char> state(units.size(), unseen), matches(units.size(), 0);
  struct Visit {
    std::size_t unit;
    uint32_t next_byte;
  };
  std::vector<Visit> stack;

  const auto enter = [&](std::size_t unit) {
    // Text may hold any byte next, so all 256 places must exist.
    require((units.base(unit) | 0xFF) < units.size(),
            "unit " + std::to_string(unit) + " of the trie points outside of it.");
    state[unit] = open;
    stack.push_back({unit, 0});
  };
  const auto leave = [&](std::size_t unit) {
    if (Units::has_value(units[unit])) {
      const std::size_t value = units[units.base(unit)] & 0x7FFFFFFFu;
      require(value < replacements.size(),
              "a rule's replacement lies outside (offset " + std::to_string(value) + ").");
      const std::size_t end = replacements.find('\0', value);
      require(end != std::string_view::npos, "a rule's replacement has no end.");
      require(end - value <= kMaxReplacement, "a rule's replacement is longer than 4096 bytes.");
      const auto text = replacements.substr(value, end - value);
      longest = std::max<std::size_t>(longest,
                                      text.size() + 2 * std::count(text.begin(), text.end(), ' '));
      ++matches[unit];
    }
    require(matches[unit] <= kMaxMatches, "more than 32 rules begin one another.");
    state[unit] = done;
  };

  require(units.size() > 0, "the trie is empty.");
  enter(0);
  while (!stack.empty()) {
    auto& [unit, byte] = stack.back();
    if (byte == 256) {
      leave(unit);
      const unsigned char below = matches[unit];
      stack.pop_back();
      if (!stack.empty()) {
        auto& most = matches[stack.back().unit];
        most = std::max(most, below);
      }
      continue;
    }
    const uint32_t label = byte++;
    const std::size_t child = units.base(unit) ^ label;
    if (Units::label(units[child]) != label) continue;
    require(state[child] != open, "the trie has a cycle.");
    if (state[child] == unseen) {
      enter(child);
    } else {
      matches[unit] = std::max(matches[unit], matches[child]);
    }
  }
  return static_cast<int64_t>(longest);
}

}  // namespace cupel
