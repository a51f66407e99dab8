"""Quantizes to 4 bits with GPTQ, beside rounding to nearest, and saves the weights packed.

    python examples/python/3_quantize.py [MODEL CALIBRATION HELDOUT OUT]

Without arguments it works on the small model that comes with cupel and writes to ./quantized.
"""

import sys
from pathlib import Path

import cupel


def main(model_folder: Path, calibration: Path, heldout: Path, out: Path) -> None:
    tokenizer = cupel.load_tokenizer(model_folder)
    model = cupel.load_model(model_folder)
    length = min(256, model.config.max_positions)
    windows = cupel.sample_windows(calibration, tokenizer, samples=32, length=length, seed=0)
    dense = cupel.perplexity(model, tokenizer, heldout)
    print(f"dense perplexity:                   {dense.value:.4f}")

    # 16 values for each output row; group=128 would give every 128 columns of it values of their own.
    # Scales in the model's dtype can be stored without rounding them again.
    dtype = str(model.dtype).removeprefix("torch.")
    grid = cupel.Grid(bits=4, scale_dtype=dtype)
    # Both round to the same kind of grid. GPTQ lets the columns to come make up for each error, by
    # what the inputs have in common, so it needs calibration text.
    for method in (cupel.Rtn(grid), cupel.Gptq(grid)):
        model = cupel.load_model(model_folder)  # compress works in place: start from the dense one
        result = cupel.compress(model, windows, method)
        compressed = cupel.perplexity(model, tokenizer, heldout)
        label = f"{result.method}:"
        print(f"compressed perplexity, {label:12} {compressed.value:.4f}")

    bits = 8 * result.packed_bytes / result.weights
    print(f"{bits:.2f} bits a weight, scales and zero points included")

    # Codes and scales as compressed-tensors packs them: transformers loads the folder, and
    # load_model gives back the same weights. Without `format` the weights are written dense.
    cupel.save_model(model, out, format="pack-quantized")
    print(f"written to {out}")


if __name__ == "__main__":
    if len(sys.argv) == 5:
        main(*map(Path, sys.argv[1:]))
    elif len(sys.argv) == 1:
        shipped = cupel.touchstone.folder()
        texts = (cupel.touchstone.CALIBRATION, cupel.touchstone.HELDOUT)
        main(shipped, *(shipped / text for text in texts), Path("quantized"))
    else:
        sys.exit(__doc__)
