#include "core/download_artefact.h"

#include <algorithm>

namespace cupel {

std::string download_artefact(std::string_view head) {
  using namespace std::literals;
  if (head.starts_with("version https://git-lfs")) {
    return "this is a git-lfs pointer, not the file itself; run git lfs pull in its folder.";
  }
  const std::size_t text = head.find_first_not_of("\xEF\xBB\xBF \t\r\n");
  std::string start(head.substr(std::min(text, head.size()), 9));
  std::transform(start.begin(), start.end(), start.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<?xml")) {
    return "this is an HTML or XML page, not a model file; the download returned a web page "
           "(sign-in or error); download it again.";
  }
  if (head.starts_with("PK\x03\x04"sv)) {
    return "this is a zip archive, probably a PyTorch pickle (.bin, .pt), which can run code; load "
           "it in transformers and save_pretrained(..., safe_serialization=True).";
  }
  if (head.starts_with("\x80\x02"sv) || head.starts_with("\x80\x04"sv)) {
    return "this is a Python pickle (an old PyTorch .bin, .pt), which can run code; load it in "
           "transformers and save_pretrained(..., safe_serialization=True).";
  }
  if (head.starts_with("GGUF")) {
    return "this is a GGUF file; use the safetensors files of the model it was made from.";
  }
  if (head.starts_with("\x1F\x8B"sv)) return "this is a gzip file; unpack it first.";
  return "";
}

}  // namespace cupel
