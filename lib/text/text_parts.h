#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace cupel {

/// Cuts `text` where no piece of a separable model (SentencePieceModel) can lie: in front of a run
/// of spaces behind some other character. The ids of the parts, one after another, are those of
/// the text. With `dummy_prefix` a part begins behind the space that the library gives back to it.
/// Each part but the last has at least `least` bytes, and more where the text offers no cut; a text
/// without any is one part. The parts are views into `text`.
std::vector<std::string_view> text_parts(std::string_view text, std::size_t least,
                                         bool dummy_prefix);

}  // namespace cupel
