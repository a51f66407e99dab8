#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/weight_names.h"
#include "cupel/checkpoint/checkpoint.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/unicode.h"

namespace cupel {

namespace fs = std::filesystem;

namespace {

/// What AtomicFile leaves behind when its process was killed.
bool is_temporary(const std::string& name) {
  return name.starts_with(".") && name.find(".tmp-") != std::string::npos;
}

void copy_file(const std::string& from, const std::string& to) {
  const InputFile source(from);
  AtomicFile target(to);
  std::vector<char> buffer(std::min<uint64_t>(source.size(), uint64_t{1} << 20));
  for (uint64_t at = 0; at < source.size(); at += buffer.size()) {
    const uint64_t part = std::min<uint64_t>(buffer.size(), source.size() - at);
    source.read(at, buffer.data(), part);
    target.write(buffer.data(), part);
  }
  target.commit();
}

}  // namespace

void copy_companion_files(const std::string& from, const std::string& to,
                          const std::vector<std::string>& except) {
  if (!fs::is_directory(from)) throw FormatError(from, "", "is not a folder.");
  fs::create_directories(to);
  if (fs::equivalent(from, to)) return;
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() || is_weight_file(name) || is_temporary(name)) continue;
    if (std::find(except.begin(), except.end(), name) != except.end()) continue;
    copy_file(entry.path().string(), (fs::path(to) / name).string());
  }
}

}  // namespace cupel
