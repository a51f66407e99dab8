#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cupel/text/tokenizer.h"

namespace cupel {

/// The text of `ids` where they stand after `size` tokens at `before`. SentencePiece drops a leading
/// space of what it decodes alone, so the end of what stands before is decoded with it and taken off.
/// Ids that the tokenizer lacks (a model may have more rows than it) are no text.
std::string text_after(const Tokenizer& tokenizer, const int64_t* before, std::size_t size,
                       const std::vector<int64_t>& ids);

/// Unicode characters of well-formed UTF-8.
double characters(const std::string& text);

}  // namespace cupel
