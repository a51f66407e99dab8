#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace cupel {

/// How many bytes of a file download_artefact() looks at.
inline constexpr std::size_t kArtefactBytes = 512;

/// What a model file that failed to parse really is, with what to do: a git-lfs pointer, a web
/// page, a PyTorch pickle, a GGUF file. Empty when its first bytes tell nothing.
std::string download_artefact(std::string_view head);

}  // namespace cupel
