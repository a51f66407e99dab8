#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cupel {

// Text as lm-eval's wikitext task sees it. All of it must be valid UTF-8; white space is what
// Python's str.isspace() says.

/// The articles of a wiki.*.raw file: each begins with its heading of level 1 (" = Title = "), as
/// the data set wikitext_document_level has them. Blank text before the first is no article.
std::vector<std::string_view> wikitext_articles(std::string_view text);

/// WikiText's spaced-out tokens put together again.
std::string detokenise_wikitext(std::string text);

/// Pieces between runs of white space, empty ones at the ends included: len(re.split(r"\s+", x)).
int64_t count_words(std::string_view text);

}  // namespace cupel
