#include "cupel/calibration/windows.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <unordered_map>

#include "cupel/core/check.h"
#include "cupel/core/error.h"
#include "cupel/core/file.h"
#include "cupel/core/random.h"
#include "cupel/core/unicode.h"
#include "cupel/text/records.h"

namespace cupel {

namespace {

// A copy: the record of a calibration must not change with the caller's tensor.
torch::Tensor as_ids(const torch::Tensor& tokens) {
  check(tokens.defined(), "Calibration", "token ids must be a tensor. Got an undefined one.");
  check(tokens.layout() == torch::kStrided && at::isIntegralType(tokens.scalar_type(), false),
        "Calibration", "token ids must be integers. Got ", tokens.dtype(), " ", tokens.sizes(),
        ".");
  return tokens.to(torch::kCPU, torch::kLong, false, true).contiguous();
}

torch::Tensor one_sample(const torch::Tensor& tokens) {
  torch::Tensor ids = as_ids(tokens);
  check(ids.dim() == 1, "Calibration", "each sample must be [length]. Got ", tokens.sizes(), ".");
  return ids;
}

void update(Sha256& hash, const int64_t* values, int64_t count) {
  std::string bytes;
  bytes.reserve(8 * count);
  for (int64_t i = 0; i < count; ++i) {  // little-endian on every machine
    const auto value = static_cast<uint64_t>(values[i]);
    for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(value >> shift));
  }
  hash.update(bytes);
}

std::string file_sha256(const std::string& path) {
  const InputFile file(path);
  Sha256 hash;
  std::string chunk;
  for (uint64_t offset = 0; offset < file.size(); offset += chunk.size()) {
    chunk.resize(std::min<uint64_t>(uint64_t{1} << 20, file.size() - offset));
    file.read(offset, chunk.data(), chunk.size());
    hash.update(chunk);
  }
  return hash.hex();
}

torch::Tensor window(const std::vector<int64_t>& ids, int64_t start, int64_t length) {
  torch::Tensor sample = torch::empty({length}, torch::kLong);
  std::copy_n(ids.begin() + start, length, sample.data_ptr<int64_t>());
  return sample;
}

void from_text(const std::string& path, const Tokenizer& tokenizer, const WindowOptions& options,
               Calibration& calibration) {
  const std::string text = read_text(path);
  calibration.source_sha256 = sha256(text);
  const std::vector<int64_t> ids = tokenizer.encode(text, true);
  const auto tokens = static_cast<int64_t>(ids.size());
  check(tokens > options.length, "sample_windows", "needs more than ", options.length,
        " tokens for one window of length ", options.length, ". Got ", tokens, " tokens in ",
        printable(path), ".");
  PythonRandom random(static_cast<uint64_t>(options.seed));
  for (int64_t i = 0; i < options.samples; ++i) {
    const int64_t start = random.randint(0, tokens - options.length - 1);
    calibration.samples.push_back(window(ids, start, options.length));
  }
  calibration.rule =
      c10::str("random.seed(", options.seed,
               "); the whole file encoded at once, special tokens once: ", tokens, " tokens; ",
               options.samples, " x start = randint(0, ", tokens - options.length - 1, "), ",
               options.length, " tokens from there");
}

/// The documents of a .jsonl file. Only those long enough for a window keep their ids.
class Documents {
 public:
  Documents(std::vector<std::string> texts, const Tokenizer& tokenizer, int64_t length)
      : texts_(std::move(texts)), tokenizer_(tokenizer), length_(length), encoded_(texts_.size()) {}

  int64_t size() const { return static_cast<int64_t>(texts_.size()); }
  int64_t encoded() const { return seen_; }
  int64_t long_enough() const { return static_cast<int64_t>(long_.size()); }
  int64_t longest() const { return longest_; }

  /// Ids of document `index`, or null when it is too short.
  const std::vector<int64_t>* find(int64_t index) {
    if (!encoded_[index]) {
      encoded_[index] = true;
      ++seen_;
      std::vector<int64_t> ids = tokenizer_.encode(texts_[index], true);
      texts_[index] = std::string();
      longest_ = std::max<int64_t>(longest_, ids.size());
      if (static_cast<int64_t>(ids.size()) > length_) long_.emplace(index, std::move(ids));
    }
    const auto entry = long_.find(index);
    return entry == long_.end() ? nullptr : &entry->second;
  }

 private:
  std::vector<std::string> texts_;
  const Tokenizer& tokenizer_;
  int64_t length_;
  std::vector<bool> encoded_;
  std::unordered_map<int64_t, std::vector<int64_t>> long_;
  int64_t seen_ = 0, longest_ = 0;
};

void from_documents(const std::string& path, const Tokenizer& tokenizer,
                    const WindowOptions& options, Calibration& calibration) {
  calibration.source_sha256 = file_sha256(path);
  Documents documents(read_jsonl_field(path, options.field), tokenizer, options.length);
  check(documents.size() > 0, "sample_windows", "needs a document. Got none in ", printable(path),
        ".");
  const int64_t limit = options.max_documents_tried > 0
                            ? options.max_documents_tried
                            : 100 * options.samples + 10 * documents.size();
  PythonRandom random(static_cast<uint64_t>(options.seed));
  int64_t tried = 0;
  while (static_cast<int64_t>(calibration.samples.size()) < options.samples) {
    // When all are known to be too short, no further draw can help.
    const bool hopeless = documents.encoded() == documents.size() && documents.long_enough() == 0;
    check(tried < limit && !hopeless, "sample_windows", documents.long_enough(), " of ",
          documents.encoded(), " documents are longer than ", options.length,
          " tokens, the longest has ", documents.longest(), ". Got ", calibration.samples.size(),
          " of ", options.samples, " windows after ", tried, " draws (at most ", limit,
          ") from the ", documents.size(), " documents of ", printable(path), ".");
    const auto* ids = documents.find(random.randint(0, documents.size() - 1));
    ++tried;
    if (ids == nullptr) continue;
    const int64_t last = static_cast<int64_t>(ids->size()) - options.length - 1;
    calibration.samples.push_back(window(*ids, random.randint(0, last), options.length));
  }
  calibration.documents_tried = tried;
  calibration.rule =
      c10::str("random.seed(", options.seed, "); ", options.samples, " x (document = randint(0, ",
               documents.size() - 1, ") until one encodes, special tokens once, to more than ",
               options.length, " tokens L; start = randint(0, L - ", options.length + 1, "), ",
               options.length, " tokens from there); ", tried, " draws");
}

bool ends_with_any(const std::string& path, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](const char* ending) { return path.ends_with(ending); });
}

}  // namespace

Calibration::Calibration(const torch::Tensor& tokens)
    : source("tokens"), rule("token ids as given") {
  const torch::Tensor ids = as_ids(tokens);
  check(ids.dim() == 1 || ids.dim() == 2, "Calibration",
        "token ids must be [samples, length] or [length]. Got ", tokens.sizes(), ".");
  samples = ids.dim() == 1 ? std::vector<torch::Tensor>{ids} : ids.unbind(0);
}

Calibration::Calibration(std::vector<torch::Tensor> given)
    : source("tokens"), rule("token ids as given") {
  samples.reserve(given.size());
  for (const auto& sample : given) samples.push_back(one_sample(sample));
}

int64_t Calibration::tokens() const {
  int64_t total = 0;
  for (const auto& sample : samples) total += sample.numel();
  return total;
}

std::string Calibration::hash() const {
  std::vector<int64_t> sizes{static_cast<int64_t>(samples.size())};
  std::vector<torch::Tensor> ids;
  for (const auto& sample : samples) {
    ids.push_back(one_sample(sample));
    sizes.push_back(sample.numel());
  }
  Sha256 hash;
  update(hash, sizes.data(), static_cast<int64_t>(sizes.size()));
  for (const auto& sample : ids) update(hash, sample.data_ptr<int64_t>(), sample.numel());
  return hash.hex();
}

void Calibration::validate(int64_t vocabulary) const {
  check(!samples.empty(), "Calibration", "needs at least one sample. Got none.");
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const torch::Tensor& sample = samples[i];
    check(sample.defined() && sample.layout() == torch::kStrided && sample.dim() == 1 &&
              sample.numel() > 0,
          "Calibration", "sample ", i, " must hold tokens [length]. Got ",
          sample.defined() ? c10::str(sample.sizes()) : "an undefined tensor", ".");
    check(at::isIntegralType(sample.scalar_type(), false), "Calibration", "sample ", i,
          " must hold integers. Got ", sample.dtype(), ".");
    const torch::Tensor ids = one_sample(sample);
    const int64_t* id = ids.data_ptr<int64_t>();
    const int64_t* bad = std::find_if(
        id, id + ids.numel(), [&](int64_t value) { return value < 0 || value >= vocabulary; });
    check(bad == id + ids.numel(), "Calibration", "ids must be in [0, ", vocabulary,
          "). Got sample ", i, " with id ", bad == id + ids.numel() ? 0 : *bad, " at position ",
          bad - id, ".");
  }
}

Calibration sample_windows(const std::string& path, const Tokenizer& tokenizer,
                           const WindowOptions& options) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  check(options.samples >= 1 && options.samples <= most, "sample_windows", "samples must be 1 to ",
        most, ". Got ", options.samples, ".");
  check(options.length >= 1 && options.length <= most, "sample_windows", "length must be 1 to ",
        most, ". Got ", options.length, ".");
  check(options.seed >= 0, "sample_windows", "seed must not be negative. Got ", options.seed, ".");
  check(options.max_documents_tried >= 0, "sample_windows",
        "max_documents_tried must not be negative. Got ", options.max_documents_tried, ".");
  Calibration calibration;
  calibration.source = std::filesystem::path(path).filename().string();
  calibration.seed = options.seed;
  if (ends_with_any(path, {".txt", ".raw"})) {
    from_text(path, tokenizer, options, calibration);
  } else if (ends_with_any(path, {".jsonl", ".jsonl.gz", ".json", ".json.gz"})) {
    from_documents(path, tokenizer, options, calibration);
  } else {
    check(false, "sample_windows", "a file's name must end in .txt or .raw (text), or in .jsonl, ",
          ".json, .jsonl.gz or .json.gz (one JSON object a line). Got ", printable(path), ".");
  }
  return calibration;
}

}  // namespace cupel
