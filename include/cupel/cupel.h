#pragma once

// cupel: compress language models, and assay what the compression cost.
//
// Conventions, for the whole library:
//   weight       [out, in], as in torch.nn.Linear;  activations [tokens, in]
//   mask         bool, true = keep;  scores: larger = keep;  sparsity = fraction of zeros, 0 to 1
//   n_of_m(n, m) n KEPT of every m consecutive input columns (the papers' prune_n counts zeros)
//   exact counts a comparison group of g weights loses floor(sparsity * g); ties keep the lower
//                column; rules="published" reproduces the papers' code instead
//   H            2 / tokens * sum of x x^T;  loss = ||X dW^T||^2 / tokens, undamped;
//                relative_error = ||X dW^T||^2 / ||X W^T||^2
//   quantized    weight == ((codes - zeros) * scales in float32) cast to the weight's dtype, bit for
//                bit;  symmetric grids: zero 2^(bits-1), scale 2 max|w| / (2^bits - 1)
//   precision    statistics and solves in float32 or better, whatever the weights' dtype
//   likelihoods  in nats;  perplexity = exp(nats per scored token), always with its protocol
//   errors       std::invalid_argument a caller's mistake; FormatError a bad file; NumericalError
//                numbers that cannot be worked with; Cancelled when a progress function says so
//
// The order below is the path of a weight: each line may use those above it.
#include "cupel/core/error.h"
#include "cupel/core/progress.h"
#include "cupel/core/journal.h"
#include "cupel/checkpoint/safetensors.h"
#include "cupel/checkpoint/checkpoint.h"
#include "cupel/checkpoint/packing.h"
#include "cupel/text/records.h"
#include "cupel/text/tokenizer.h"
#include "cupel/text/chat.h"
#include "cupel/model/config.h"
#include "cupel/model/linear.h"
#include "cupel/model/model.h"
#include "cupel/model/packed.h"
#include "cupel/model/generate.h"
#include "cupel/calibration/windows.h"
#include "cupel/calibration/input_stats.h"
#include "cupel/calibration/collect.h"
#include "cupel/compress/pattern.h"
#include "cupel/compress/criterion.h"
#include "cupel/compress/grid.h"
#include "cupel/compress/compressor.h"
#include "cupel/compress/prune.h"
#include "cupel/compress/column_sweep.h"
#include "cupel/compress/sparsegpt.h"
#include "cupel/compress/rtn.h"
#include "cupel/compress/gptq.h"
#include "cupel/compress/chain.h"
#include "cupel/compress/allocation.h"
#include "cupel/compress/layer_names.h"
#include "cupel/compress/compress_model.h"
#include "cupel/eval/token_model.h"
#include "cupel/eval/scorer.h"
#include "cupel/eval/perplexity.h"
#include "cupel/eval/divergence.h"
#include "cupel/eval/statistics.h"
#include "cupel/eval/metrics.h"
#include "cupel/eval/rouge.h"
#include "cupel/eval/text_figures.h"
#include "cupel/eval/task.h"
#include "cupel/eval/run_record.h"
#include "cupel/eval/evaluate.h"
#include "cupel/eval/compare.h"
#include "cupel/eval/judge_parser.h"
#include "cupel/eval/judge.h"
#include "cupel/report/report.h"
#include "cupel/version.h"
