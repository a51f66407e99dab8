#include "eval/wikitext.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "cupel/core/unicode.h"

namespace cupel {

namespace {

// Bytes of the white-space character that starts at `at`; 0 when there is none.
std::size_t space_at(std::string_view text, std::size_t at) {
  if (at >= text.size()) return 0;
  std::size_t length = 0;
  return is_white_space(code_point(text, at, length)) ? length : 0;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  result.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t at; (at = text.find(from, begin)) != std::string_view::npos;
       begin = at + from.size()) {
    result.append(text, begin, at - begin).append(to);
  }
  return result.append(text, begin);
}

// No white space just inside a pair of marks. The text after an opening mark without its closing
// one stays as it is, as does the rest.
std::string tighten(std::string_view text, char open, char close) {
  std::string result;
  result.reserve(text.size());
  std::size_t begin = 0;
  for (std::size_t at; (at = text.find(open, begin)) != std::string_view::npos;) {
    const std::size_t end = text.find(close, at + 1);
    if (end == std::string_view::npos) break;
    result.append(text, begin, at + 1 - begin);
    result.append(strip_white_space(text.substr(at + 1, end - at - 1))).push_back(close);
    begin = end + 1;
  }
  return result.append(text, begin);
}

// The task's rule for "/' 5/" puts its own pattern where the digit was.
std::string replace_slashes(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  std::size_t begin = 0, from = 0;
  for (std::size_t at; (at = text.find("/' ", from)) != std::string_view::npos;) {
    const bool digit = at + 4 < text.size() && text[at + 3] >= '0' && text[at + 3] <= '9';
    from = at + 1;
    if (!digit || text[at + 4] != '/') continue;
    result.append(text, begin, at - begin).append("/'[0-9]/");
    begin = from = at + 5;
  }
  return result.append(text, begin);
}

bool is_title(std::string_view line) {
  line = strip_white_space(line);
  if (!line.starts_with('=')) return false;
  const std::string joined = replace_all(replace_all(line, "= = =", "==="), "= =", "==");
  return joined.starts_with("= ") && joined.ends_with(" =");
}

}  // namespace

std::vector<std::string_view> wikitext_articles(std::string_view text) {
  std::vector<std::string_view> articles;
  std::size_t start = 0;
  for (std::size_t line = 0; line <= text.size();) {
    const std::size_t end = std::min(text.find('\n', line), text.size());
    if (is_title(text.substr(line, end - line))) {
      // The line end before a title belongs to no article.
      const auto before = text.substr(start, line > start ? line - 1 - start : 0);
      if (!strip_white_space(before).empty()) articles.push_back(before);
      start = line;
    }
    line = end + 1;
  }
  articles.push_back(text.substr(start));
  return articles;
}

std::string detokenise_wikitext(std::string text) {
  using Rules = std::initializer_list<std::pair<const char*, const char*>>;
  const auto apply = [&](const Rules& rules) {
    for (const auto& [from, to] : rules) text = replace_all(text, from, to);
  };
  apply({{"s '", "s'"}});
  text = replace_slashes(text);
  apply({{" @-@ ", "-"}, {" @,@ ", ","}, {" @.@ ", "."}});
  for (const char mark : {':', ';', '.', '!', '?', ','}) {
    text = replace_all(text, std::string{' ', mark, ' '}, std::string{mark, ' '});
  }
  text = tighten(text, '(', ')');
  text = tighten(text, '[', ']');
  text = tighten(text, '{', '}');
  text = tighten(text, '"', '"');
  text = tighten(text, '\'', '\'');
  apply({{"= = = =", "===="},
         {"= = =", "==="},
         {"= =", "=="},
         {" \xC2\xB0 ", "\xC2\xB0"},
         {" \n", "\n"},
         {"\n ", "\n"},
         {" N ", " 1 "},
         {" 's", "'s"}});
  return text;
}

int64_t count_words(std::string_view text) {
  int64_t words = 1;
  for (std::size_t at = 0; at < text.size();) {
    if (space_at(text, at) == 0) {
      ++at;
      continue;
    }
    while (const std::size_t bytes = space_at(text, at)) at += bytes;
    ++words;
  }
  return words;
}

}  // namespace cupel
