#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace cupel::test {

/// Path of real data that is not part of the project (models, texts): below $CUPEL_SHARED, or below
/// ../shared beside the source tree. "" when it is not there; then the test says that it skips.
inline std::string shared_path(const std::string& relative) {
  std::string root;
  if (const char* given = std::getenv("CUPEL_SHARED")) {
    root = given;
  } else {
#ifdef CUPEL_SOURCE_DIR
    root = std::string(CUPEL_SOURCE_DIR) + "/../shared";
#endif
  }
  std::error_code error;
  const auto path = std::filesystem::path(root) / relative;
  return !root.empty() && std::filesystem::exists(path, error) ? path.string() : "";
}

}  // namespace cupel::test
