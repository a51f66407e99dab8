#include "compress/block_loop.h"

#include <ATen/Functions.h>
#include <torch/types.h>

#include <chrono>

#include "compress/method_plan.h"
#include "compress/shared_factors.h"
#include "core/large_tensor.h"
#include "cupel/calibration/collect.h"
#include "cupel/core/check.h"
#include "cupel/core/error.h"

namespace cupel {

Propagation parse_propagation(const std::string& name) {
  if (name == "staged") return Propagation::staged;
  if (name == "block") return Propagation::block;
  if (name == "dense") return Propagation::dense;
  throw std::invalid_argument("[compress] propagation is staged, block or dense. Got '" + name +
                              "'.");
}

std::string to_string(Propagation propagation) {
  constexpr const char* names[] = {"staged", "block", "dense"};
  return names[static_cast<int>(propagation)];
}

namespace {

// One run of compress(): what is chosen, where the samples are, what came out so far.
class Run {
 public:
  Run(const Model& model, const Calibration& calibration, const Compressor& compressor,
      const CompressOptions& options, const std::vector<std::string>& names)
      : options_(options),
        plan_(names, compressor, options),
        propagation_(parse_propagation(options.propagation)),
        progress_(options.progress),
        stream_(model, calibration),
        layers_(model.layers()) {
    needs_ = plan_.needs();
    if (needs_ != Needs::none && stream_.empty()) {
      throw NumericalError("[compress] " + compressor.name() +
                           " needs calibration text. Got 0 tokens; give a Calibration.");
    }
    plan_.allocate_counts(model, calibration, [this] { report("allocate"); });
    if (!stream_.empty() && options.measure_loss) needs_ = needs_ | Needs::gram;
    // Nothing to collect: the samples need not run through the model at all.
    if (needs_ == Needs::none) stream_.clear();
    stream_.on_batch = [this] { report("calibrate"); };
    result.method = compressor.name();
    result.options_json = compressor.options_json();
    result.propagation = options.propagation;
    result.keep_zeros = options.keep_zeros;
    result.allocation = options.allocation ? options.allocation->name : "";
    result.plan = plan_.layers();
    result.skipped = plan_.left_alone();
    result.calibration_hash = calibration.samples.empty() ? "" : calibration.hash();
    result.calibration_samples = static_cast<int64_t>(calibration.samples.size());
    result.calibration_tokens = calibration.tokens();
  }

  std::vector<LayerResult> compress_block(int64_t layer, Block& block) {
    switch (propagation_) {
      case Propagation::staged:
        return staged(layer, block);
      case Propagation::block:
        return whole(layer, block, true);
      default:
        return whole(layer, block, false);
    }
  }

  CompressionResult result;

 private:
  std::vector<NamedLinear> chosen(Block& block, int64_t stage) const {
    std::vector<NamedLinear> linears;
    for (const auto& linear : block.linears(stage)) {
      if (plan_.contains(linear.name)) linears.push_back(linear);
    }
    return linears;
  }

  InputStats collect(const Block& block, int64_t stage, const NamedLinear& first,
                     bool keep_inputs) {
    name_ = first.name;
    return stream_.collect(block, stage, needs_, first.name, first.linear->weight().size(1),
                           keep_inputs);
  }

  LayerResult compress_linear(const NamedLinear& linear, const InputStats& stats,
                              SharedFactors& shared) {
    name_ = linear.name;
    report("compress");
    const WorkScope working([this] { report("compress"); });
    const auto& weight = linear.linear->weight();
    const auto before = mask_before(*linear.linear);
    const int64_t count = plan_.count(linear.name);
    const Compressor& method = plan_.method(linear.name);
    const LayerTask task{linear.name,           weight, stats, before, nullptr, count,
                         options_.measure_loss, &shared};
    LayerResult made = options_.nan_policy == NanPolicy::keep ? compress_finite_rows(method, task)
                                                              : method.compress(task);
    check(made.weight.defined() && made.weight.sizes() == linear.linear->weight().sizes(),
          "compress", "a compressor returns a weight of the same shape. Got ",
          made.weight.defined() ? made.weight.sizes() : at::IntArrayRef(), " for ",
          linear.linear->weight().sizes(), " in ", linear.name, ".");
    if (count >= 0) check_count(linear.name, made, before, count);
    linear.linear->set_compressed(made.weight.to(linear.linear->weight().scalar_type()), made.mask,
                                  made.quantized());
    ++done_;
    progress_.report({.stage = "compress",
                      .name = linear.name,
                      .done = done_,
                      .total = plan_.size(),
                      .loss = made.loss.value_or(std::numeric_limits<double>::quiet_NaN()),
                      .layer_done = true});
    return made;
  }

  torch::Tensor mask_before(const Linear& linear) const {
    auto mask = linear.mask();
    if (!options_.keep_zeros) return mask;
    const auto nonzero = linear.weight() != 0;
    return mask.defined() ? at::logical_and(mask, nonzero) : nonzero;
  }

  void check_count(const std::string& name, const LayerResult& made, const torch::Tensor& before,
                   int64_t count) const {
    const auto pruned_by = [](const torch::Tensor& mask) {
      return mask.defined() ? mask.logical_not().sum().item<int64_t>() : 0;
    };
    const int64_t pruned = pruned_by(made.mask);
    // What was pruned before may lie where the method would not have looked.
    const bool followed = before.defined() ? pruned >= count : pruned == count;
    check(followed, "compress", "an allocation needs a method that prunes what it is told to. Got ",
          pruned, " pruned weights instead of ", count, " from ", plan_.method(name).name(), " in ",
          name, ".");
  }

  // The block runs once; each stage sees everything before it as compressed.
  std::vector<LayerResult> staged(int64_t layer, Block& block) {
    std::vector<LayerResult> results;
    for (int64_t stage = 0; stage < block.stages(); ++stage) {
      const auto linears = chosen(block, stage);
      const bool last = layer + 1 == layers_ && stage + 1 == block.stages();
      if (!linears.empty()) {
        const InputStats stats = collect(block, stage, linears.front(), !last);
        if (last) stream_.clear();
        SharedFactors shared;
        for (const auto& linear : linears) {
          results.push_back(compress_linear(linear, stats, shared));
        }
        release_large_memory();  // the samples want room
      }
      if (!last) stream_.apply(block, stage);
    }
    return results;
  }

  // All statistics of a block come from the block as it stands; then all of it is compressed. With
  // `compressed_on` the next block gets what the compressed one makes (a second pass).
  std::vector<LayerResult> whole(int64_t layer, Block& block, bool compressed_on) {
    const bool last = layer + 1 == layers_, keep = !compressed_on && !last;
    std::vector<std::shared_ptr<InputStats>> inputs(block.stages());
    std::vector<std::string> names(block.stages());
    std::vector<std::pair<NamedLinear, std::shared_ptr<InputStats>>> tasks;
    int64_t seen = 0;  // stages up to the last one with something to compress
    for (int64_t stage = 0; stage < block.stages(); ++stage) {
      const auto linears = chosen(block, stage);
      if (linears.empty()) continue;
      names[stage] = linears.front().name;
      inputs[stage] =
          std::make_shared<InputStats>(linears.front().linear->weight().size(1), needs_);
      for (const auto& linear : linears) tasks.emplace_back(linear, inputs[stage]);
      seen = stage + 1;
    }
    if (seen > 0) name_ = names[seen - 1];
    const int64_t applied = keep ? block.stages() : std::max<int64_t>(0, seen - 1);
    stream_.pass(block, seen, applied, keep,
                 [&](int64_t stage, const torch::Tensor& x, int64_t first, int64_t tokens) {
                   if (!inputs[stage]) return;
                   name_ = names[stage];
                   inputs[stage]->add(x, x.size(0), {name_, first, tokens});
                 });
    if (last) stream_.clear();
    std::vector<LayerResult> results;
    const InputStats* last_stats = nullptr;
    SharedFactors shared;
    for (const auto& [linear, stats] : tasks) {
      if (stats.get() != last_stats) shared = {};
      last_stats = stats.get();
      results.push_back(compress_linear(linear, *stats, shared));
    }
    release_large_memory();
    if (compressed_on && !last) stream_.forward(block);
    return results;
  }

  void report(const char* stage) const {
    progress_.report({.stage = stage, .name = name_, .done = done_, .total = plan_.size()});
  }

  const CompressOptions& options_;
  MethodPlan plan_;
  Propagation propagation_;
  ProgressReporter progress_;
  CalibrationStream stream_;
  int64_t layers_, done_ = 0;
  Needs needs_ = Needs::none;
  std::string name_;
};

// Masks stay: they are shared with the model.
void drop_tensors(LayerResult& result) {
  result.weight = result.codes = result.scales = result.zeros = torch::Tensor();
  result.group_index = result.permutation = torch::Tensor();
}

}  // namespace

CompressionResult compress_blocks(const Model& model, const Calibration& calibration,
                                  const Compressor& compressor, const CompressOptions& options,
                                  const std::function<std::shared_ptr<Block>(int64_t)>& next,
                                  const std::function<void(int64_t, const std::shared_ptr<Block>&,
                                                           std::vector<LayerResult>&)>& done) {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  Run run(model, calibration, compressor, options, model.linear_names());
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    const auto block = next(layer);
    auto results = run.compress_block(layer, *block);
    done(layer, block, results);
    for (auto& result : results) {
      if (!options.keep_tensors) drop_tensors(result);
      run.result.layers.push_back(std::move(result));
    }
  }
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
  run.result.seconds = passed.count();
  return std::move(run.result);
}

}  // namespace cupel
